# SPDX-License-Identifier: Apache-2.0
"""Writes fnmatch.json: what Python's fnmatch says of many patterns.

Usage: python3 fnmatch.py [seed [rows]] > fnmatch.json
"""
import fnmatch
import json
import random
import sys

seed = int(sys.argv[1]) if len(sys.argv) > 1 else 7
rows = int(sys.argv[2]) if len(sys.argv) > 2 else 3000
rng = random.Random(seed)

FIXED = [
    '', '*', '?', '**', '*.*', 'compute.*', '*.end', 'compute.instance.*.end', 'compute.instance.?reate.end',
    '[ab]*', '[!ab]*', '[a-c]x', '[c-a]x', '[!c-a]x', '[]', '[!]', '[]]', '[!]]', '[]a]', '[a', 'a[', '[', '[!', '[-a]', '[a-]',
    '[--a]', '[a-c-e]', '[a-cx-z]', '[^a]', '[!^a]', '[\\]', '\\*', '[a\\-c]', '[[]', '[[a]', '[&&a]', '[a||b]', '[~~]', 'é*', '?é',
    '[é-ü]', '[!-a]', '[a--]', '[---]', '[+--]', '(a)', 'a|b', 'a.b', '$', '^', 'a{2}', '[*]', '[?]', '[!*]', '*a*b*c*', '.', '[.]',
    '[c-aé]', '[b-ac-a]', '[b-a-c]', '[a-b-a]',
]
NAMES = [
    '', 'a', 'b', 'c', 'x', 'ax', 'bx', 'cx', 'dx', '[', ']', '[]', '!', '-', '^', '\\', '*', '\\*', '&', '|', '~', 'é', 'ü', 'aé', 'a.b', 'axb',
    'compute.instance.create.end', 'compute.instance.create.start', 'COMPUTE.instance.create.end', 'volume.end', 'aXbXc', 'a\nb', '\n',
    '(a)', 'a|b', '$', 'aa', '.', 'xx', 'abc', 'cba', '+', ',',
]
PATTERN_CHARS = 'abc*?[]!-^\\.é[]-'
NAME_CHARS = 'abc[]!-^\\.é'


def text(chars, most):
    return ''.join(rng.choice(chars) for _ in range(rng.randint(0, most)))


table = [[p, n] for p in FIXED for n in NAMES]
while len(table) < len(FIXED) * len(NAMES) + rows:
    # Sets are where fnmatch is intricate.
    p = text(PATTERN_CHARS, 8) if rng.random() < .5 else '[' + text('abc-!]^', 7) + ']' + text('*a', 1)
    n = text(NAME_CHARS, 4)
    table.append([p, n])
out = {}
for p, n in table:
    out.setdefault(p, {})[n] = fnmatch.fnmatchcase(n, p)
for p, names in out.items():
    out[p] = {'fits': sorted(n for n, ok in names.items() if ok), 'not': sorted(n for n, ok in names.items() if not ok)}
print('{')
print(',\n'.join(json.dumps(p) + ':' + json.dumps(v, separators=(',', ':')) for p, v in sorted(out.items())))
print('}')

# SPDX-License-Identifier: Apache-2.0
"""Reads the headers of golden files with another CBOR, and makes headers with it.

Usage: header.py FILE... Prints one line for each file: its name and the header that cbor2 makes of
the comment "# header". The last line is the header of a goodbye of a later version. It fails when a
header is not what the comment says.
"""

import datetime
import json
import os
import sys

import cbor2

TARGET = 26


def numbered(fields):
    """JSON has no integers for keys."""
    return {int(k): v for k, v in fields.items()}


def described(text):
    header = numbered(json.loads(text))
    if TARGET in header:
        header[TARGET] = numbered(header[TARGET])
    return header


def main(files):
    for file in files:
        with open(file, encoding="utf-8") as f:
            lines = f.read().splitlines()
        want = next(described(line[len("# header "):]) for line in lines if line.startswith("# header "))
        frames = [bytes.fromhex(line.strip("-")) for line in lines if not line.startswith("#")]
        got = cbor2.loads(frames[2])
        if got != want or len(frames) != 5 or frames[0] != b"" or frames[1] != b"2.0":
            sys.exit(f"{file}: header {got}, want {want}")
        print(os.path.basename(file), cbor2.dumps(want, canonical=True).hex())
    later = {0: 11, 100: 1.5, 101: [None, {"a": b"\x00"}, -2**63], 102: 2**64,
             103: datetime.datetime.fromtimestamp(0, datetime.timezone.utc), 104: "\u2603" * 100, 105: cbor2.undefined}
    print("later", cbor2.dumps(later, canonical=True).hex())


main(sys.argv[1:])

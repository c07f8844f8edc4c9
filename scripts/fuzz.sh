#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs every fuzz target of the module for the given time; a second argument, a pattern,
# chooses among them by name.
set -euo pipefail
time=$1
chosen=${2:-.}
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
inputs=$(go env GOCACHE)/fuzz # where "go test" keeps what it found, too

# compile builds the test program of a package that is to be fuzzed. To link one takes one
# processor, so they are built side by side, and before the first one runs.
compile() {
	go test -c -fuzz=Fuzz -o "$1/$(tr / _ <<<"$2").test" "./$2"
}
export -f compile

# fuzz runs one target, given as DIR:TARGET, with one worker: as many run side by side as there are
# processors, so that one starts while another works. The end of the time itself is sometimes
# reported as a failure ("context deadline exceeded" and no failing input). That, and nothing else,
# is tried again, so that an input that fails or hangs still ends the run.
fuzz() {
	local dir=${1%%:*} target=${1##*:} program log try said
	program=$work/$(tr / _ <<<"$dir").test log=$work/$(tr / _ <<<"$dir").$target.log
	for try in 1 2 3; do
		if (cd "$dir" && "$program" -test.run '^$' -test.fuzz "^$target\$" -test.fuzztime "$time" \
			-test.fuzzminimizetime 5s -test.parallel 1 -test.fuzzcachedir "$inputs/$module/$dir") >"$log" 2>&1; then
			said=$(grep -o 'execs: .*' "$log" | tail -n 1) || said="only what is known already"
			echo "     $target: $said"
			return 0
		fi
		if grep -q 'Failing input written' "$log" || ! grep -q '^ *context deadline exceeded$' "$log"; then
			break
		fi
		echo "     $target: the end of the time was reported as a failure, try $try"
	done
	cat "$log"
	return 1
}
export -f fuzz

module=$(go list -m)
export time work inputs module
grep -rHoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' . | sed 's/:func /:/; s|^\./||; s|/[^/:]*:|:|' |
	grep -E ":.*$chosen" | sort -u >"$work/targets" || true
cut -d: -f1 "$work/targets" | sort -u | xargs -r -P "$(nproc)" -I{} bash -c 'compile "$@"' compile "$work" {}
xargs -r -P "$(nproc)" -I{} bash -o pipefail -c 'fuzz "$@"' fuzz {} <"$work/targets"
ran=$(wc -l <"$work/targets")
echo "     $ran fuzz targets ran for $time each"
[ "$ran" -gt 0 ]

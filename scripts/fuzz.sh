#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs every fuzz target of the module for the given time; a second argument, a pattern,
# chooses among them by name.
set -euo pipefail
time=$1
chosen=${2:-.}
cd "$(dirname "$0")/.."
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# fuzz runs one target. "go test" sometimes reports the end of the time itself as a failure
# ("context deadline exceeded" and no failing input). That, and nothing else, is tried again,
# so that an input that fails or hangs still ends the run.
fuzz() {
	local dir=$1 target=$2 try
	for try in 1 2 3; do
		if go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 5s "$dir" >"$log" 2>&1; then
			grep -o 'execs: .*' "$log" | tail -n 1 | sed "s|^|     $target: |"
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

ran=0
while IFS=: read -r file target; do
	fuzz "./$(dirname "$file")" "$target"
	ran=$((ran + 1))
done < <(grep -rHoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' . | sed 's/:func /:/; s|^\./||' | grep -E ":.*$chosen")
echo "     $ran fuzz targets ran for $time each"
[ "$ran" -gt 0 ]

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs every fuzz target of the module for the given time.
set -euo pipefail
time=$1
cd "$(dirname "$0")/.."
ran=0
while IFS=: read -r file target; do
	dir=./$(dirname "$file")
	echo "fuzz $dir $target for $time"
	go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 5s "$dir" >"/tmp/parley-fuzz.$$" 2>&1 || {
		cat "/tmp/parley-fuzz.$$"
		rm -f "/tmp/parley-fuzz.$$"
		exit 1
	}
	tail -n 2 "/tmp/parley-fuzz.$$" | head -n 1
	ran=$((ran + 1))
done < <(grep -rHoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' . | sed 's/:func /:/; s|^\./||')
rm -f "/tmp/parley-fuzz.$$"
echo "$ran fuzz targets ran"
[ "$ran" -gt 0 ]

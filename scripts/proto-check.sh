#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Generates the protocol's code, today's and the foundation's, into a temporary directory and
# compares. Then it proves that today's protocol only added to the foundation's.
set -euo pipefail
tools=$1
cd "$(dirname "$0")/.."
export PATH="$tools:$PATH"
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

compare() {
	local dir=$1 remedy=$2 f
	(cd "$dir" && buf lint && buf generate --output "$out/$dir")
	for f in "$out/$dir"/*.go; do
		if ! cmp -s "$f" "$dir/$(basename "$f")"; then
			echo "$dir/$(basename "$f") is not what driver.proto gives: $remedy" >&2
			exit 1
		fi
	done
}

compare plugin/proto "run 'make proto'"
compare internal/foundation/contract "it is a record, and is not to be changed"
buf breaking plugin/proto --against internal/foundation/contract
echo "generated code is up to date"

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Generates the protocol's code into a temporary directory and compares.
set -euo pipefail
tools=$1
cd "$(dirname "$0")/../plugin/proto"
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
PATH="$tools:$PATH" buf lint
PATH="$tools:$PATH" buf generate --output "$out"
for f in "$out"/*.go; do
	if ! cmp -s "$f" "$(basename "$f")"; then
		echo "plugin/proto/$(basename "$f") is not what driver.proto gives: run 'make proto'" >&2
		exit 1
	fi
done
echo "generated code is up to date"

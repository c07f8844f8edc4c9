#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Everything CI runs, in the order in which a mistake is cheapest to find. Nothing is left
# out in silence: what could not be proven is printed at the end, and fails the run unless
# PARLEY_TEST_OPTIONAL=1 says that it may.
set -euo pipefail
cd "$(dirname "$0")/.."
begin=$SECONDS
# The drivers of tests are built anew each time; the user's lock file is not for them.
state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT
export PARLEY_LOCK_FILE=$state/parley.lock

step() {
	local t=$SECONDS
	echo "== $1"
	shift
	"$@"
	echo "   $((SECONDS - t)) s"
}

tests() {
	# -v would bury the failures; testlog prints a line a package as it ends, the whole output
	# of what failed, and the lines that say what was not proven.
	go build -o bin/testlog ./internal/testlog
	# Those that take longest come first, or one processor would wait for them at the end.
	go test -race -timeout 15m -count=1 -json ./plugins/rabbit ./internal/faults ./... 2>&1 | bin/testlog
}

step "peers: RabbitMQ and Python oslo.messaging" internal/peertest/install.sh
step "build" make --no-print-directory build
step "generated code" make --no-print-directory proto-check
step "lint" make --no-print-directory lint
step "tests with the race detector" tests
step "fuzz targets, ${FUZZTIME:-5s} each" scripts/fuzz.sh "${FUZZTIME:-5s}"
step "demo" make --no-print-directory demo
echo "all of it in $((SECONDS - begin)) s"

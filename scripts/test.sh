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
trap 'unshare_brokers; rm -rf "$state"' EXIT
export PARLEY_LOCK_FILE=$state/parley.lock
# Test programs that need the same driver find it there, instead of linking it each for itself.
export PARLEY_TEST_PROGRAMS=$PWD/bin/testprograms

sharing=()

# share_broker starts a broker for all test programs that do nothing to it, and exports the variable
# that names its descriptor. Where it cannot be started, the tests that need it say why.
share_broker() {
	local kind=$1 variable=$2 file=$state/$1.json input pid
	if [ -n "${!variable:-}" ]; then
		return
	fi
	# It ends when its input does, which is when this script ends in whatever way.
	exec {input}> >(exec bin/peerctl "$kind" --descriptor "$file" >"$state/$kind.log" 2>&1)
	pid=$!
	sharing+=("$pid $input")
	while [ ! -e "$file" ]; do
		if ! kill -0 "$pid" 2>/dev/null; then
			sed "s/^/   no shared broker: /" "$state/$kind.log"
			return
		fi
		sleep 0.1
	done
	export "$variable=$file"
}

unshare_brokers() {
	local one pid input
	for one in "${sharing[@]}"; do
		read -r pid input <<<"$one"
		exec {input}>&-
		kill "$pid" 2>/dev/null || true # what the tests left may have its input
		wait "$pid" || true
	done
	sharing=()
}

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
	go build -o bin/ ./internal/testlog ./internal/peertest/cmd/peerctl
	share_broker rabbitmq PARLEY_TEST_RABBITMQ
	share_broker brokerj PARLEY_TEST_BROKERJ
	# Those that take longest come first, or one processor would wait for them at the end. Many
	# wait more than they compute, so there is one more at a time than there are processors.
	go test -race -timeout 15m -count=1 -p $(($(nproc) + 1)) -json ./plugins/rabbit ./internal/faults ./... 2>&1 | bin/testlog
	unshare_brokers
}

step "peers: RabbitMQ and Python oslo.messaging" internal/peertest/install.sh
step "build" make --no-print-directory build
step "generated code" make --no-print-directory proto-check
step "lint" make --no-print-directory lint
step "tests with the race detector" tests
step "fuzz targets, ${FUZZTIME:-5s} each" scripts/fuzz.sh "${FUZZTIME:-5s}"
step "demo" make --no-print-directory demo
echo "all of it in $((SECONDS - begin)) s"

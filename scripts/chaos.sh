#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Breaks everything at random for the given time, and fails when a promise was broken. What
# follows the time goes to internal/chaos/cmd/chaos: "-seed N" repeats a run, "-only kill,hot"
# chooses among the faults, "-h" lists the rest. The report is also in bin/chaos.json, and the
# log of hosts, drivers and faults in bin/chaos.log.
set -euo pipefail
time=$1
shift
cd "$(dirname "$0")/.."
mkdir -p bin
exec go run ./internal/chaos/cmd/chaos -time "$time" -json bin/chaos.json -log bin/chaos.log "$@"

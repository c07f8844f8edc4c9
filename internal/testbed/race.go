// SPDX-License-Identifier: Apache-2.0

//go:build race

package testbed

// raceEnabled says that the tests run with the race detector, so the drivers do too.
const raceEnabled = true

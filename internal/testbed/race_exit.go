// SPDX-License-Identifier: Apache-2.0

package testbed

import "os"

// raceVariable configures the race detector of programs as they start.
const raceVariable = "GORACE"

// EndQuickly lets the programs that are started from now on, and their drivers, end without
// the second that the race detector waits for reports that are still to be written. It is for
// tests that end many.
func EndQuickly() error {
	if !raceEnabled || os.Getenv(raceVariable) != "" {
		return nil
	}
	return os.Setenv(raceVariable, "atexit_sleep_ms=20")
}

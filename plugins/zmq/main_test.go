// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// islanderVariable makes the test binary one node of the test of partitions, with what it says.
const islanderVariable = "PARLEY_ZMQ_ISLANDER"

func TestMain(m *testing.M) {
	if text := os.Getenv(islanderVariable); text != "" {
		if err := actAsIslander(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

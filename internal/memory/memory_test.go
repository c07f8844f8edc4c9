// SPDX-License-Identifier: Apache-2.0

package memory_test

import (
	"context"
	"testing"

	"go.uber.org/goleak"

	"github.com/parleymq/parley/internal/memory"
	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/sdk/drivertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// harness opens Conns of d with a message limit, so that SEND-8 can be proven.
func harness(d *memory.Driver) drivertest.Harness {
	return drivertest.Harness{
		Info:         d.Describe,
		MessageLimit: 4 << 20,
		Open: func(ctx context.Context, t drivertest.TB, namespace string) driver.Conn {
			t.Helper()
			c, err := d.Open(ctx, driver.Config{
				Driver: "fake", VirtualHost: namespace,
				Options: driver.Options{"message_limit": "4194304"},
			})
			if err != nil {
				t.Fatalf("open: %v", err)
			}
			return c
		},
	}
}

// TestConformance leaves the cases of outages unproven, and says so: there is no broker that
// could be away. TestSuitePassesTheReference runs them, for the sake of the suite.
func TestConformance(t *testing.T) {
	drivertest.Run(t, harness(memory.New()))
}

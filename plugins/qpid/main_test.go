// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/testkit"
)

// patience bounds every wait of a test for something that must happen.
const patience = 30 * time.Second

// newVhost is a virtual host of a test's own, for addresses that no other test has.
func newVhost() string { return "test-" + strings.ToLower(rand.Text()) }

// open opens a Conn that is closed with the test.
func open(t testing.TB, cfg driver.Config) *conn {
	t.Helper()
	return testkit.Open(t, newDriver(), cfg, patience).(*conn)
}

func listen(t testing.TB, c *conn, src driver.Source) driver.Listener {
	t.Helper()
	l, err := c.Listen(soon(t), src)
	if err != nil {
		t.Fatalf("Listen: %v", err)
	}
	return l
}

func soon(t testing.TB) context.Context { return testkit.Within(t, patience) }

// eventually waits for a condition of the broker or the driver.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	testkit.Eventually(t, patience, what, ok)
}

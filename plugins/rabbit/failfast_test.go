// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"sync"
	"testing"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/testkit"
)

// TestFailFastWithoutRoom needs no broker: the room is taken by messages that wait for one.
func TestFailFastWithoutRoom(t *testing.T) {
	cfg := testkit.Config(t, newDriver(), "127.0.0.1:1", "v", &testkit.Logs{}, nil)
	c := open(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	for n := range maxOutstanding {
		waiting.Add(1)
		c.SendAsync(ctx, []*driver.Message{testkit.Cast(n)}, func(int, error) { waiting.Done() })
	}
	for range 3 {
		if e := testkit.Failure(t, c.Send(soon(t), []*driver.Message{failFast(0)}), driver.ReasonNotConnected); e.InDoubt {
			t.Errorf("not sent, and in doubt: %v", e)
		}
	}
	cancel()
	waiting.Wait()
}

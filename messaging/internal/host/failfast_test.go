// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

func failFast(id string) *driver.Message {
	m := cast(id)
	m.FailFast = true
	return m
}

// TestFailFastWithoutAProcess is SEND-10 where a driver cannot keep it: while its process is
// gone.
func TestFailFastWithoutAProcess(t *testing.T) {
	h := newFakeHost(t, nil)
	c := openFake(t, h)
	ctx := within(t, 30*time.Second)
	if err := c.Send(ctx, []*driver.Message{failFast("right after Open")}); err != nil {
		t.Fatal(err)
	}
	if err := h.SignalForTest("fake", syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	refused := 0
	for {
		err := c.Send(ctx, []*driver.Message{failFast("f")})
		if err == nil {
			break
		}
		e := driver.AsError(err)
		if e.Reason != driver.ReasonDriverGone || !e.Retryable {
			t.Fatalf("got %v, want a DRIVER_GONE to try again", err)
		}
		if !e.InDoubt {
			refused++
		}
	}
	if refused == 0 {
		t.Error("no message failed before the process was there again")
	}
}

// TestFailFastLeavesOthersWaiting: in one batch, the other message goes to the next process.
func TestFailFastLeavesOthersWaiting(t *testing.T) {
	h := newFakeHost(t, nil)
	c := openFake(t, h)
	ctx := within(t, 30*time.Second)
	if err := h.SignalForTest("fake", syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for ctx.Err() == nil {
		err := c.Send(ctx, []*driver.Message{failFast("f"), cast("c")})
		fast, patient := driver.MessageErr(err, 0), driver.MessageErr(err, 1)
		if fast == nil && patient == nil {
			t.Fatal("the process was there again before a message failed fast")
		}
		if fast != nil && !driver.AsError(fast).InDoubt {
			if patient != nil {
				t.Fatalf("the message that can wait: %v", patient)
			}
			return
		}
	}
	t.Fatal("no message failed fast")
}

// SPDX-License-Identifier: Apache-2.0

package functional

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/messaging/messagingtest"
	"github.com/parleymq/parley/plugin/driver"
)

// TestMonitorLongCall is test_monitor_long_call, with a method that lasts three times as long as
// the monitor waits: without heartbeats the second call would fail.
func TestMonitorLongCall(t *testing.T) {
	const monitor = time.Second
	onWires(t, func(t *testing.T, w *world) {
		tr := w.open(t, messaging.Options{})
		ep := messaging.NewEndpoint(nil)
		ep.HandleFunc("delay", func(ctx context.Context, _ map[string]any) (any, error) {
			select {
			case <-time.After(3 * monitor):
				return "done", nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})
		serve(t, tr, messaging.Target{Topic: "slow", Server: "server"}, nil, ep)
		c := client(tr, messaging.Target{Topic: "slow", Server: "server"})
		if err := c.With(messaging.Timeout(2*monitor)).Call(t.Context(), "delay", nil, nil); !errors.Is(err, messaging.ErrNoReply) {
			t.Errorf("without monitoring: %v", err)
		}
		var got string
		err := c.With(messaging.Timeout(time.Hour), messaging.Monitor(monitor)).Call(soon(t), "delay", nil, &got)
		if err != nil || got != "done" {
			t.Errorf("monitored: %q, %v", got, err)
		}
		// Nobody is there: the monitor ends what the timeout would not for an hour. A driver without
		// a broker knows that there is nobody.
		nobody := c.With(messaging.Server("nobody"), messaging.Timeout(time.Hour), messaging.Monitor(monitor))
		start := time.Now()
		err = nobody.Call(soon(t), "delay", nil, nil)
		unheard := w.direct() && errors.Is(err, messaging.ErrUndeliverable)
		if took := time.Since(start); !errors.Is(err, messaging.ErrNoReply) && !unheard || took > monitor+late {
			t.Errorf("monitored, and nobody there: %v after %v", err, took)
		}
	})
}

// TestNoHeartbeatsForUnknownMethod: upstream's watchdog goes on for ever when the method is not
// found. Here the answer is the one and only message. It is counted at the driver.
func TestNoHeartbeatsForUnknownMethod(t *testing.T) {
	const monitor = 3 * time.Second // heartbeats come at half of it, on a busy machine too
	broker := messagingtest.NewBroker()
	tr := broker.Transport(t, quiet())
	ep, beaten := messaging.NewEndpoint(nil), make(chan struct{})
	ep.HandleFunc("slow", func(ctx context.Context, _ map[string]any) (any, error) {
		select {
		case <-beaten:
			return "slow", nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	serve(t, tr, messaging.Target{Topic: "t", Server: "s"}, nil, ep)
	c := client(tr, messaging.Target{Topic: "t"}).With(messaging.Monitor(monitor))
	if err := c.Call(soon(t), "unknown", nil, nil); !errors.Is(err, messaging.ErrNoSuchMethod) {
		t.Fatal(err)
	}
	unknown := broker.Expect(t, messagingtest.Match{Kind: driver.Reply}).CallID
	answered := make(chan error, 1)
	go func() { answered <- c.Call(soon(t), "slow", nil, nil) }()
	beats := func() map[string]int {
		byCall := make(map[string]int)
		for _, m := range broker.Sent(messagingtest.Match{Kind: driver.Heartbeat}) {
			byCall[m.CallID]++
		}
		return byCall
	}
	// A watchdog that was left would beat before that of the later call.
	testbed.Eventually(t, patience, "there is a heartbeat", func() bool { return len(beats()) > 0 })
	close(beaten)
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	slow := broker.Expect(t, messagingtest.Match{Kind: driver.Reply}).CallID
	if all := beats(); all[unknown] > 0 || all[slow] == 0 {
		t.Errorf("%d heartbeats for the method that does not exist, %d for the slow one", all[unknown], all[slow])
	}
	broker.ExpectNone(t, messagingtest.Match{Kind: driver.Reply}) // beyond these two
}

// SPDX-License-Identifier: Apache-2.0

package functional

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/plugin/driver"
)

// What is different where nothing stands between a sender and its receiver. There is no queue
// that waits for a server, so that the sender does.

// TestRequestsWaitForTheirServer: what is sent before anybody listens is done when somebody does,
// by each way to address a server, once.
func TestRequestsWaitForTheirServer(t *testing.T) {
	onWires(t, func(t *testing.T, w *world) {
		tr := w.open(t, messaging.Options{})
		c := client(tr, messaging.Target{Topic: "late"})
		began := make(chan struct{}, 4)
		ended := make(chan error, 4)
		for _, c := range []*messaging.RPCClient{c, c.With(messaging.Server("server"))} {
			go func() {
				began <- struct{}{}
				ended <- c.Call(soon(t), "ping", map[string]any{"arg": "call"}, nil)
			}()
			go func() {
				began <- struct{}{}
				ended <- c.Cast(soon(t), "ping", map[string]any{"arg": "cast"})
			}()
		}
		for range cap(began) {
			<-began
		}
		select {
		case err := <-ended:
			t.Fatalf("it ended before anybody listened: %v", err)
		case <-time.After(500 * time.Millisecond):
		}
		p := &pings{}
		serve(t, w.open(t, messaging.Options{}), messaging.Target{Topic: "late", Server: "server"}, nil, p.endpoint())
		for range cap(ended) {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		testbed.Eventually(t, patience, "two calls and two casts", func() bool { return len(p.sorted()) >= len("call call cast cast") })
		if err := c.Call(soon(t), "alive", nil, nil); err != nil {
			t.Error(err)
		}
		if got := p.sorted(); got != "call call cast cast" {
			t.Errorf("the server got %q", got)
		}
	}, testbed.Need(driver.CapDirect))
}

// TestNobodyListens: what waited for a listener ends with its time, and says why. A fanout to
// nobody has reached everybody.
func TestNobodyListens(t *testing.T) {
	const timeout = 700 * time.Millisecond
	onWires(t, func(t *testing.T, w *world) {
		c := client(w.open(t, messaging.Options{}), messaging.Target{Topic: "nobody"}).With(messaging.Timeout(timeout))
		mandatory := c.With(messaging.Mandatory(), messaging.Timeout(patience))
		atOnce := c.With(messaging.Retry(0), messaging.Timeout(patience))
		var all sync.WaitGroup
		for _, tc := range []struct {
			name        string
			request     func() error
			want        error
			least, most time.Duration
		}{
			{"call", func() error { return c.Call(t.Context(), "m", nil, nil) }, messaging.ErrUndeliverable, timeout / 2, timeout + late},
			{"cast", func() error { return c.Cast(t.Context(), "m", nil) }, messaging.ErrUndeliverable, timeout / 2, timeout + late},
			{"call to a server", func() error { return c.With(messaging.Server("s")).Call(t.Context(), "m", nil, nil) }, messaging.ErrUndeliverable, timeout / 2, timeout + late},
			{"mandatory call", func() error { return mandatory.Call(t.Context(), "m", nil, nil) }, messaging.ErrUndeliverable, 0, slack},
			{"mandatory cast", func() error { return mandatory.Cast(t.Context(), "m", nil) }, messaging.ErrUndeliverable, 0, slack},
			{"call, retry 0", func() error { return atOnce.Call(t.Context(), "m", nil, nil) }, messaging.ErrUndeliverable, 0, slack},
			{"cast, retry 3", func() error { return atOnce.With(messaging.Retry(3)).Cast(t.Context(), "m", nil) }, messaging.ErrUndeliverable, 0, slack},
			{"fanout", func() error { return c.With(messaging.Fanout()).Cast(t.Context(), "m", nil) }, nil, 0, slack},
		} {
			all.Go(func() {
				start := time.Now()
				err := tc.request()
				if took := time.Since(start); !errors.Is(err, tc.want) || took < tc.least || took > tc.most {
					t.Errorf("%s: %v after %v", tc.name, err, took)
				}
			})
		}
		all.Wait()
	}, testbed.Need(driver.CapDirect))
}

// TestCastToBusyServer: a cast waits in the queue of a server that is busy, not at its sender,
// and none is lost or doubled.
func TestCastToBusyServer(t *testing.T) {
	const casts = 20
	onWires(t, func(t *testing.T, w *world) {
		tr := w.open(t, messaging.Options{})
		gate, a := make(chan struct{}), &account{name: "server"}
		ep := messaging.NewEndpoint(nil)
		add.Handle(ep, func(ctx context.Context, args incrementArgs) (int, error) {
			select {
			case <-gate:
			case <-ctx.Done():
			}
			return a.add(ctx, args)
		})
		serve(t, w.open(t, messaging.Options{}), messaging.Target{Topic: "busy", Server: a.name}, &messaging.RPCServerOptions{Concurrency: 1}, ep)
		c := client(tr, messaging.Target{Topic: "busy"})
		start := time.Now()
		for range casts {
			if err := add.Cast(soon(t), c, incrementArgs{1}); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(start); took > patience/2 {
			t.Errorf("%d casts to a busy server took %v", casts, took)
		}
		if sum, _ := a.state(); sum != 0 {
			t.Errorf("%d were run while the server was busy", sum)
		}
		close(gate)
		testbed.Eventually(t, patience, "all casts are run", func() bool { sum, _ := a.state(); return sum >= casts })
		if _, err := add.Call(soon(t), c, incrementArgs{0}); err != nil {
			t.Error(err)
		}
		if sum, _ := a.state(); sum != casts {
			t.Errorf("%d casts were run %d times", casts, sum)
		}
	})
}

// TestCastOutlivesItsSender: a cast that was sent arrives though its sender closes at once.
func TestCastOutlivesItsSender(t *testing.T) {
	onWires(t, func(t *testing.T, w *world) {
		p := &pings{}
		serve(t, w.open(t, messaging.Options{}), messaging.Target{Topic: "t", Server: "server"}, nil, p.endpoint())
		for range 3 {
			tr := w.open(t, messaging.Options{})
			if err := client(tr, messaging.Target{Topic: "t"}).Cast(soon(t), "ping", map[string]any{"arg": "sent"}); err != nil {
				t.Fatal(err)
			}
			testbed.Close(t, tr)
		}
		testbed.Eventually(t, patience, "three casts", func() bool { return p.sorted() == "sent sent sent" })
	})
}

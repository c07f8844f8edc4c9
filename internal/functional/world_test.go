// SPDX-License-Identifier: Apache-2.0

package functional

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/plugin/driver"
)

// world is one driver with a place of its own. All its transports share one driver process,
// because applications on the fake driver do not meet otherwise.
type world struct {
	driver string
	url    string
	vhost  string // of the broker
	host   *messaging.Host
	logs   *testbed.Logs
	wire   *testbed.Wire // nil on the fake driver
}

// onWires runs a test on every wire that has what it needs, with the same expectations, and on the
// fake driver when it needs nothing.
func onWires(t *testing.T, test func(t *testing.T, w *world), needs ...testbed.Need) {
	t.Helper()
	bed.Broker(t)
	if len(needs) == 0 {
		t.Run("fake", func(t *testing.T) {
			t.Parallel()
			test(t, newWorld(t, "fake", "fake:///functional"))
		})
	}
	bed.EachWire(t, func(t *testing.T, wire *testbed.Wire) {
		t.Parallel()
		test(t, wireWorld(t, wire))
	}, needs...)
}

func wireWorld(t *testing.T, wire *testbed.Wire) *world {
	t.Helper()
	place := wire.New(t)
	w := newWorld(t, wire.Info.Name, place.URL)
	w.vhost, w.wire = place.Vhost, wire
	return w
}

// worldWith is for the tests that ask for what one wire alone has.
func worldWith(t *testing.T, needs ...testbed.Need) *world {
	t.Helper()
	able := bed.Wires(t, needs...)
	if len(able) != 1 {
		t.Fatalf("%d wires have %v", len(able), needs)
	}
	return wireWorld(t, able[0])
}

// topicsCross says that a topic's servers hear requests for it in every exchange.
func (w *world) topicsCross() bool { return w.wire != nil && w.wire.TopicsCross }

// direct says that nothing stands between a sender and its receiver.
func (w *world) direct() bool { return w.wire != nil && w.wire.Has(driver.CapDirect) }

// mustReachNobody checks how a call ends whose time is over and that nobody listened to. A broker
// took it, and the caller knows no more; without one the driver knows that there was nobody.
func (w *world) mustReachNobody(t *testing.T, err error) {
	t.Helper()
	if w.direct() {
		if !errors.Is(err, messaging.ErrUndeliverable) {
			t.Errorf("a call that nobody listened to: %v", err)
		}
		return
	}
	if !errors.Is(err, messaging.ErrNoReply) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a call that nobody answered: %v", err)
	}
}

func newWorld(t *testing.T, name, url string) *world {
	t.Helper()
	logs := testbed.NewLogs(t)
	return &world{driver: name, url: url, logs: logs, host: messaging.NewHost(&messaging.HostOptions{
		DriverPath: []string{bed.Drivers, bed.Bin}, RuntimeDir: bed.Runtime, Logger: logs.Logger(),
	})}
}

// open opens a transport, which is closed with the test.
func (w *world) open(t *testing.T, o messaging.Options) *messaging.Transport {
	t.Helper()
	o.Host, o.Logger, o.AppName = w.host, w.logs.Logger(), "functional"
	tr, err := messaging.Open(t.Context(), w.url, &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { testbed.Close(t, tr) })
	return tr
}

// openReady opens a transport that has found what there is to be connected to, so that a short
// time is enough for a request.
func (w *world) openReady(t *testing.T) *messaging.Transport {
	t.Helper()
	tr := w.open(t, messaging.Options{})
	if err := tr.Ping(soon(t)); err != nil && !errors.Is(err, messaging.ErrUnsupported) {
		t.Fatal(err)
	}
	return tr
}

// client is a client whose calls have time enough.
func client(tr *messaging.Transport, target messaging.Target) *messaging.RPCClient {
	return messaging.NewRPCClient(tr, target, &messaging.RPCClientOptions{Timeout: patience})
}

// serve runs a server of endpoints until the test ends.
func serve(t *testing.T, tr *messaging.Transport, target messaging.Target, o *messaging.RPCServerOptions, endpoints ...*messaging.Endpoint) *messaging.RPCServer {
	t.Helper()
	s := messaging.NewRPCServer(tr, target, o, endpoints...)
	testbed.Serve(t, s)
	return s
}

// quiet is for transports in memory, whose servers would log failures that are meant.
func quiet() *messaging.Options { return &messaging.Options{Logger: slog.New(slog.DiscardHandler)} }

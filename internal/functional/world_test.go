// SPDX-License-Identifier: Apache-2.0

package functional

import (
	"log/slog"
	"testing"

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

// world is one driver with a virtual host of its own. All its transports share one driver
// process, because applications on the fake driver do not meet otherwise.
type world struct {
	driver string
	url    string
	vhost  string // of the broker
	host   *messaging.Host
	logs   *testbed.Logs
}

// onBoth runs a test on the fake driver and on rabbit, with the same expectations.
func onBoth(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	bed.Broker(t)
	t.Run("fake", func(t *testing.T) {
		t.Parallel()
		test(t, newWorld(t, "fake", "fake:///functional"))
	})
	t.Run("rabbit", func(t *testing.T) {
		t.Parallel()
		test(t, rabbitWorld(t))
	})
}

// rabbitWorld is for the tests that look at the wire.
func rabbitWorld(t *testing.T) *world {
	t.Helper()
	broker := bed.Broker(t)
	vhost := broker.NewVhost(t)
	w := newWorld(t, "rabbit", broker.URL(vhost))
	w.vhost = vhost
	return w
}

func newWorld(t *testing.T, driver, url string) *world {
	t.Helper()
	logs := testbed.NewLogs(t)
	return &world{driver: driver, url: url, logs: logs, host: messaging.NewHost(&messaging.HostOptions{
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

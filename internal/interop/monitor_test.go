// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

const (
	// monitor is the least that a Python server sends heartbeats for.
	monitor = 2 * time.Second
	// long is longer than it, and longShort than the times that it refuses.
	long, longShort = 3.25, 2.5
)

// refused are the monitor times that a Python server sends no heartbeats for.
func refused() []time.Duration {
	return []time.Duration{500 * time.Millisecond, time.Second, 1500 * time.Millisecond}
}

func seconds(s float64) map[string]any { return map[string]any{"seconds": s} }

// testGoMonitors makes long calls to Python, at the same time.
func testGoMonitors(t *testing.T, p *peers) {
	c := p.goClient.With(messaging.Server("py1"), messaging.Monitor(monitor))
	var all sync.WaitGroup
	all.Go(func() {
		var got float64
		if err := c.Call(t.Context(), "sleep", seconds(long), &got); err != nil || got != long {
			t.Errorf("with heartbeats: got %v, %v", got, err)
		}
	})
	all.Go(func() { // heartbeats move the monitor's end, and not that of the call
		start := time.Now()
		err := c.With(messaging.Timeout(time.Second)).Call(t.Context(), "sleep", seconds(long), nil)
		if !errors.Is(err, messaging.ErrNoReply) {
			t.Errorf("with a timeout of 1 s: got %v, want ErrNoReply", err)
		}
		within(t, "timeout of 1 s", time.Since(start), time.Second, time.Second)
	})
	for _, d := range refused() {
		all.Go(func() { goMonitorsTooShort(t, c.With(messaging.Monitor(d)), d) })
	}
	all.Go(func() { goMonitorsFailures(t, c.With(messaging.Server("py2"))) })
	all.Wait()
	if !strings.Contains(p.pythonServers["py1"].Output(), "invalid timeout value") {
		t.Error("the Python server does not say that it sends no heartbeats")
	}
}

// goMonitorsTooShort: quick answers come, others are given up after the monitor time.
func goMonitorsTooShort(t *testing.T, c *messaging.RPCClient, d time.Duration) {
	var name string
	if err := c.Call(t.Context(), "whoami", nil, &name); err != nil || name != "py1" {
		t.Errorf("monitor %v: got %q, %v", d, name, err)
	}
	start := time.Now()
	err := c.Call(t.Context(), "sleep", seconds(longShort), nil)
	if !errors.Is(err, messaging.ErrNoReply) || !strings.Contains(err.Error(), "no sign of life") {
		t.Errorf("monitor %v: got %v, want ErrNoReply", d, err)
	}
	within(t, "monitor "+d.String(), time.Since(start), d, d)
}

// goMonitorsFailures: failures are answers, too. After one of dispatching a Python server goes
// on with its heartbeats for ever, which must not disturb other calls.
func goMonitorsFailures(t *testing.T, c *messaging.RPCClient) {
	if err := c.Call(t.Context(), "fail", nil, nil); !errors.Is(err, errValue) {
		t.Errorf("got %v, want a ValueError", err)
	}
	if err := c.Call(t.Context(), "nosuch", nil, nil); !errors.Is(err, messaging.ErrNoSuchMethod) {
		t.Errorf("got %v, want ErrNoSuchMethod", err)
	}
	var got float64
	if err := c.Call(t.Context(), "sleep", seconds(longShort), &got); err != nil || got != longShort {
		t.Errorf("after the failures: got %v, %v", got, err)
	}
}

// testPythonMonitors makes long calls to Go, at the same time. Go's server sends heartbeats for
// any monitor time.
func testPythonMonitors(t *testing.T, p *peers) {
	sleep := func(s float64, monitor, timeout time.Duration) (peertest.Reply, error) {
		return p.call(t, peertest.Request{Method: "sleep", Args: seconds(s), Monitor: monitor, Timeout: timeout})
	}
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() {
		if reply, err := sleep(long, monitor, patience); err != nil || !sameJSON(t, reply.Result, []byte("3.25")) {
			t.Errorf("with heartbeats: got %s, %v", reply.Result, err)
		}
	})
	all.Go(func() {
		_, err := sleep(long, monitor, time.Second)
		within(t, "timeout of 1 s", pythonTimeout(t, "timeout of 1 s", err), time.Second, time.Second)
	})
	for _, d := range refused() {
		all.Go(func() {
			if reply, err := sleep(longShort, d, patience); err != nil || !sameJSON(t, reply.Result, []byte("2.5")) {
				t.Errorf("monitor %v: got %s, %v", d, reply.Result, err)
			}
		})
	}
	all.Go(func() {
		for method, class := range map[string]string{"fail": "ValueError", "nosuch": "RemoteError"} {
			_, err := p.call(t, peertest.Request{Method: method, Monitor: monitor, Timeout: patience})
			if got, ok := errors.AsType[*peertest.PythonError](err); !ok || got.Class != class {
				t.Errorf("%s: got %v, want a %s", method, err, class)
			}
		}
	})
}

// testGoSeesDeath kills a Python server in a monitored call.
func testGoSeesDeath(t *testing.T, p *peers) {
	c := p.goClient.With(messaging.Server("py2"), messaging.Monitor(monitor))
	start := time.Now()
	result := make(chan error, 1)
	go func() { result <- c.Call(t.Context(), "sleep", seconds(20), nil) }()
	p.pythonServers["py2"].Kill()
	if err := <-result; !errors.Is(err, messaging.ErrNoReply) {
		t.Errorf("got %v, want ErrNoReply", err)
	}
	within(t, "death", time.Since(start), monitor, 2*monitor)
}

// testPythonSeesDeath takes the network from a Go server in a monitored call, after its first
// heartbeat.
func testPythonSeesDeath(t *testing.T, p *peers) {
	if p.lacks(t, testbed.NeedProxy) {
		return
	}
	const topic = "dying"
	proxy := peertest.RunAMQPProxy(t, p.broker.Addr())
	tr, _ := bed.Open(t, p.broker.URLAt(proxy.Addr(), p.vhost))
	goServer(t, tr, topic, "go4")
	result := make(chan error, 1)
	go func() {
		_, err := p.call(t, peertest.Request{Topic: topic, Method: "sleep", Args: seconds(4.5), Monitor: monitor, Timeout: patience})
		result <- err
	}()
	published(t, proxy, "false")
	proxy.Refuse(true)
	proxy.CutAll()
	took := pythonTimeout(t, "death", <-result)
	within(t, "death", took, monitor, 2*monitor)
	proxy.Refuse(false) // for a quick end of the server
}

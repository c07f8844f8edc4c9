// SPDX-License-Identifier: Apache-2.0

package functional

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/messaging/messagingtest"
	"github.com/parleymq/parley/plugin/driver"
)

// TestCallRetryPrecedence is TestCallRetry in oslo_messaging/tests/rpc/test_client.py, and
// RpcKombuHATestCase in oslo_messaging/tests/drivers/test_impl_rabbit.py: N retries are N + 1
// tries. Without a number it is the driver that waits for its broker, and its word is final.
func TestCallRetryPrecedence(t *testing.T) {
	number := func(n int) *int { return &n }
	for _, tc := range []struct {
		name    string
		ctor    *int
		prepare []messaging.CallOption
		want    int // tries
	}{
		{"all_none", nil, nil, 1},
		{"ctor", number(21), nil, 22},
		{"ctor_zero", number(0), nil, 1},
		{"prepare", nil, []messaging.CallOption{messaging.Retry(21)}, 22},
		{"prepare_override", number(10), []messaging.CallOption{messaging.Retry(21)}, 22},
		{"prepare_zero", number(10), []messaging.CallOption{messaging.Retry(0)}, 1},
		{"prepare_forever", number(10), []messaging.CallOption{messaging.Retry(-1)}, 1},
		{"ensure_one_retry", number(1), nil, 2},
		{"ensure_four_retry", number(4), nil, 5},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				broker := messagingtest.NewBroker()
				for range 100 {
					broker.Fail(messagingtest.Match{}, driver.Errorf(driver.ReasonNotConnected, "the broker is away"))
				}
				c := messaging.NewRPCClient(broker.Transport(t, quiet()), messaging.Target{Topic: "t"},
					&messaging.RPCClientOptions{Retry: tc.ctor, Timeout: time.Hour}).With(tc.prepare...)
				for kind, err := range map[driver.Kind]error{
					driver.Call: c.Call(t.Context(), "m", nil, nil),
					driver.Cast: c.Cast(t.Context(), "m", nil),
				} {
					if tries := len(broker.Sent(messagingtest.Match{Kind: kind})); tries != tc.want || !errors.Is(err, messaging.ErrUnavailable) {
						t.Errorf("%s: %d tries, %v", kind, tries, err)
					}
				}
			})
		})
	}
}

// TestRetryWithoutConnection: with no connection ever made, the number of retries means the same
// for calls and casts. Upstream's -1 fails at once there, and its 0 and 2 with an error of kombu.
func TestRetryWithoutConnection(t *testing.T) {
	bed.Wires(t, testbed.NeedRestart)
	for _, tc := range []struct {
		name        string
		retry       int
		least, most time.Duration
		retries     uint64
	}{
		{"0", 0, 0, time.Second, 0},
		{"1", 1, time.Second, time.Second + slack, 1},
		{"-1", -1, 1500 * time.Millisecond, 2*time.Second + slack, 0},
	} {
		for _, call := range []bool{true, false} {
			t.Run(tc.name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, "rabbit", "rabbit://guest:guest@"+absent(t)+"/")
				tr := w.open(t, messaging.Options{})
				c := client(tr, messaging.Target{Topic: "t"}).With(messaging.Retry(tc.retry), messaging.Timeout(2*time.Second))
				start := time.Now()
				var err error
				if call {
					err = c.Call(t.Context(), "m", nil, nil)
				} else {
					err = c.Cast(t.Context(), "m", nil)
				}
				took, stats := time.Since(start), tr.Stats()
				if !errors.Is(err, messaging.ErrUnavailable) || took < tc.least || took > tc.most || stats.Retries != tc.retries {
					t.Errorf("call %t: %v after %v, %d retries", call, err, took, stats.Retries)
				}
			})
		}
	}
}

// door lets connections through to another address, from the moment it is opened.
func door(t *testing.T, addr, to string) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	var open sync.WaitGroup
	var mu sync.Mutex
	conns := []io.Closer{l}
	keep := func(c net.Conn) {
		mu.Lock()
		defer mu.Unlock()
		conns = append(conns, c)
	}
	open.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			keep(in)
			out, err := net.Dial("tcp", to)
			if err != nil {
				continue
			}
			keep(out)
			open.Go(func() { _, _ = io.Copy(out, in); _ = out.Close() })
			open.Go(func() { _, _ = io.Copy(in, out); _ = in.Close() })
		}
	})
	t.Cleanup(func() {
		mu.Lock()
		for _, c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		open.Wait()
	})
}

// TestRetryUntilTheBrokerComes: what is asked of a broker that is not there yet is done when it
// comes, whether the driver waits (-1) or the client tries again (9).
func TestRetryUntilTheBrokerComes(t *testing.T) {
	w := worldWith(t, testbed.NeedRestart, testbed.NeedProxy)
	broker := bed.Broker(t)
	p := &pings{}
	serve(t, w.open(t, messaging.Options{}), messaging.Target{Topic: "testtopic", Server: "testserver"}, nil, p.endpoint())
	addr := absent(t)
	late := newWorld(t, "rabbit", broker.URLAt(addr, w.vhost))
	tr := late.open(t, messaging.Options{})
	c := client(tr, messaging.Target{Topic: "testtopic"})
	var all sync.WaitGroup
	for _, retry := range []int{-1, 9} {
		c := c.With(messaging.Retry(retry))
		all.Go(func() {
			if err := c.Call(soon(t), "ping", map[string]any{"arg": "call"}, nil); err != nil {
				t.Errorf("call, retry %d: %v", retry, err)
			}
		})
		all.Go(func() {
			if err := c.Cast(soon(t), "ping", map[string]any{"arg": "cast"}); err != nil {
				t.Errorf("cast, retry %d: %v", retry, err)
			}
		})
	}
	if err := c.With(messaging.Retry(0)).Cast(soon(t), "ping", nil); !errors.Is(err, messaging.ErrUnavailable) {
		t.Errorf("cast, retry 0: %v", err)
	}
	door(t, addr, broker.Addr())
	all.Wait()
	const want = "call call cast cast"
	testbed.Eventually(t, patience, "four pings", func() bool { return len(p.sorted()) >= len(want) })
	if got := p.sorted(); got != want {
		t.Errorf("the server got %q", got)
	}
}

// SPDX-License-Identifier: Apache-2.0

package functional

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

// TestCallTimeoutPrecedence is TestCallTimeout in oslo_messaging/tests/rpc/test_client.py, seen
// by the server: how long a handler may take is what the caller still waits. Zero is the default
// here, and nothing is for ever.
func TestCallTimeoutPrecedence(t *testing.T) {
	const day = 24 * time.Hour // the context's, when nothing nearer is asked for
	onWires(t, func(t *testing.T, w *world) {
		plain, configured := w.open(t, messaging.Options{}), w.open(t, messaging.Options{ReplyTimeout: 21 * time.Second})
		ep := messaging.NewEndpoint(nil)
		ep.HandleFunc("left", func(ctx context.Context, _ map[string]any) (any, error) {
			deadline, ok := ctx.Deadline()
			if !ok {
				return nil, errors.New("no deadline")
			}
			return time.Until(deadline).Seconds(), nil
		})
		serve(t, plain, messaging.Target{Topic: "t", Server: "s"}, nil, ep)
		for _, tc := range []struct {
			name    string
			tr      *messaging.Transport
			ctor    time.Duration
			prepare []messaging.CallOption
			context time.Duration
			want    time.Duration
		}{
			{"all_none", plain, 0, nil, day, messaging.DefaultReplyTimeout},
			{"confval", configured, 0, nil, day, 21 * time.Second},
			{"ctor", plain, 21100 * time.Millisecond, nil, day, 21100 * time.Millisecond},
			{"ctor_zero", configured, 0, nil, day, 21 * time.Second},
			{"prepare", plain, 0, []messaging.CallOption{messaging.Timeout(21100 * time.Millisecond)}, day, 21100 * time.Millisecond},
			{"prepare_override", plain, 10100 * time.Millisecond, []messaging.CallOption{messaging.Timeout(21100 * time.Millisecond)}, day, 21100 * time.Millisecond},
			{"prepare_zero", configured, 10100 * time.Millisecond, []messaging.CallOption{messaging.Timeout(0)}, day, 21 * time.Second},
			{"call_monitor", plain, 0, []messaging.CallOption{messaging.Timeout(time.Minute), messaging.Monitor(30 * time.Second)}, day, time.Minute},
			{"context", plain, time.Minute, nil, 15 * time.Second, 15 * time.Second},
		} {
			ctx, cancel := context.WithTimeout(t.Context(), tc.context)
			c := messaging.NewRPCClient(tc.tr, messaging.Target{Topic: "t"}, &messaging.RPCClientOptions{Timeout: tc.ctor}).With(tc.prepare...)
			var seconds float64
			err := c.Call(ctx, "left", nil, &seconds)
			cancel()
			if left := time.Duration(seconds * float64(time.Second)); err != nil || left > tc.want+10*time.Millisecond || left < tc.want-slack {
				t.Errorf("%s: %v are left, %v, want %v", tc.name, left, err, tc.want)
			}
		}
	})
}

// silent is a broker that takes connections and never says a word.
func silent(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var open sync.WaitGroup
	open.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer func() { _ = c.Close() }()
		}
	})
	t.Cleanup(func() { _ = l.Close(); open.Wait() })
	return l.Addr().String()
}

// absent is an address where nobody listens.
func absent(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// TestTimeoutCoversConnecting: upstream's timer starts when the request was sent, so that a call
// of 4 s was seen to take 43 s while the broker was away.
func TestTimeoutCoversConnecting(t *testing.T) {
	const timeout = 500 * time.Millisecond
	bed.Wires(t, testbed.NeedRestart)
	for name, addr := range map[string]string{"silent": silent(t), "absent": absent(t)} {
		w := newWorld(t, "rabbit", "rabbit://guest:guest@"+addr+"/")
		c := client(w.open(t, messaging.Options{}), messaging.Target{Topic: "t"}).With(messaging.Timeout(timeout))
		for how, request := range map[string]func() error{
			"call": func() error { return c.Call(t.Context(), "m", nil, nil) },
			"cast": func() error { return c.Cast(t.Context(), "m", nil) },
		} {
			t.Run(name+" "+how, func(t *testing.T) {
				t.Parallel()
				start := time.Now()
				err := request()
				if took := time.Since(start); took < timeout/2 || took > timeout+late {
					t.Errorf("it took %v", took)
				}
				// A broker that says nothing is not known to be away: then it is time that ran out.
				if !errors.Is(err, messaging.ErrUnavailable) && (name == "absent" || !errors.Is(err, context.DeadlineExceeded)) {
					t.Errorf("got %v", err)
				}
			})
		}
	}
}

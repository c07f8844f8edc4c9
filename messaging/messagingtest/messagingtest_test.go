// SPDX-License-Identifier: Apache-2.0

package messagingtest_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/messaging/messagingtest"
	"github.com/parleymq/parley/plugin/driver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs a server with the method count, which counts, until the test ends.
func serve(t *testing.T, tr *messaging.Transport) *atomic.Int64 {
	t.Helper()
	var ran atomic.Int64
	ep := messaging.NewEndpoint(nil)
	ep.HandleFunc("count", func(context.Context, map[string]any) (any, error) { return ran.Add(1), nil })
	srv := messaging.NewRPCServer(tr, messaging.Target{Topic: "compute", Server: "host1"}, nil, ep)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(t.Context()) }()
	t.Cleanup(func() {
		if err := <-served; !errors.Is(err, messaging.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	})
	<-srv.Ready()
	return &ran
}

func client(tr *messaging.Transport) *messaging.RPCClient {
	return messaging.NewRPCClient(tr, messaging.Target{Topic: "compute"}, nil)
}

func call(t *testing.T, c *messaging.RPCClient) (n int, err error) {
	t.Helper()
	err = c.Call(t.Context(), "count", nil, &n)
	return n, err
}

func TestTransportsOfABrokerMeet(t *testing.T) {
	b := messagingtest.NewBroker()
	serve(t, b.Transport(t, nil))
	if n, err := call(t, client(b.Transport(t, nil))); n != 1 || err != nil {
		t.Errorf("call: %d, %v", n, err)
	}
}

func TestBrokersAreApart(t *testing.T) {
	serve(t, messagingtest.NewTransport(t))
	c := client(messagingtest.NewTransport(t)).With(messaging.Mandatory())
	if _, err := call(t, c); !errors.Is(err, messaging.ErrUndeliverable) {
		t.Errorf("call to a server on another broker: %v", err)
	}
}

func TestRecorderShowsWhatWasSent(t *testing.T) {
	b := messagingtest.NewBroker()
	c := client(b.Transport(t, nil))
	if err := c.With(messaging.Fanout(), messaging.Namespace("ns"), messaging.Version("1.2")).
		Cast(t.Context(), "refresh", map[string]any{"all": true}); err != nil {
		t.Fatal(err)
	}
	if err := c.Cast(t.Context(), "refresh", nil); err != nil {
		t.Fatal(err)
	}
	s := b.Expect(t, messagingtest.Match{Kind: driver.Cast, Method: "refresh", Topic: "compute"})
	if !s.Target.Fanout || s.Namespace != "ns" || s.Version != "1.2" || string(s.Args) != `{"all":true}` || s.Err != nil {
		t.Errorf("recorded %+v", s)
	}
	if s.String() != "cast refresh to compute (fanout)" {
		t.Errorf("recorded %q", s)
	}
	if s := b.Expect(t, messagingtest.Match{Method: "refresh"}); s.Target.Fanout {
		t.Errorf("Expect returned the first message again: %s", s)
	}
	b.ExpectNone(t, messagingtest.Match{})
	if n := len(b.Sent(messagingtest.Match{Method: "refresh"})); n != 2 {
		t.Errorf("%d messages were recorded, want 2", n)
	}
}

func TestRecorderShowsReplies(t *testing.T) {
	b := messagingtest.NewBroker()
	tr := b.Transport(t, nil)
	serve(t, tr)
	if _, err := call(t, client(tr)); err != nil {
		t.Fatal(err)
	}
	if s := b.Expect(t, messagingtest.Match{Kind: driver.Reply}); string(s.Result) != "1" {
		t.Errorf("recorded the reply %+v", s)
	}
}

func TestExpectWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := messagingtest.NewBroker()
		c := client(b.Transport(t, nil))
		go func() {
			time.Sleep(9 * time.Second) // synctest's
			_ = c.Cast(t.Context(), "late", nil)
		}()
		b.Expect(t, messagingtest.Match{Method: "late"})
	})
}

func TestExpectFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := messagingtest.NewBroker()
		if err := client(b.Transport(t, nil)).Cast(t.Context(), "other", nil); err != nil {
			t.Fatal(err)
		}
		var failed failing
		done := make(chan struct{})
		go func() { // Fatalf ends the goroutine
			defer close(done)
			b.Expect(&failed, messagingtest.Match{Method: "refresh"})
		}()
		<-done
		if !strings.Contains(failed.text, `method "refresh"`) || !strings.Contains(failed.text, "cast other to compute") {
			t.Errorf("Expect said %q", failed.text)
		}
		b.ExpectNone(&failed, messagingtest.Match{Method: "other"})
		if !strings.Contains(failed.text, "unexpected: cast other") {
			t.Errorf("ExpectNone said %q", failed.text)
		}
	})
}

// failing is a T that keeps the last failure.
type failing struct {
	testing.TB
	text string
}

func (f *failing) Helper()                           {}
func (f *failing) Errorf(format string, args ...any) { f.text = fmt.Sprintf(format, args...) }
func (f *failing) Fatalf(format string, args ...any) {
	f.Errorf(format, args...)
	runtime.Goexit()
}

func TestDrop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := messagingtest.NewBroker()
		tr := b.Transport(t, nil)
		ran := serve(t, tr)
		b.Drop(messagingtest.Match{Kind: driver.Reply})
		if _, err := call(t, client(tr)); !errors.Is(err, messaging.ErrNoReply) {
			t.Errorf("call whose reply was lost: %v", err)
		}
		if n, err := call(t, client(tr)); n != 2 || err != nil || ran.Load() != 2 {
			t.Errorf("the next call: %d, %v", n, err)
		}
	})
}

func TestDuplicate(t *testing.T) {
	b := messagingtest.NewBroker()
	tr := b.Transport(t, nil)
	ran := serve(t, tr)
	b.Duplicate(messagingtest.Match{Method: "count"})
	for want := range 2 {
		if n, err := call(t, client(tr)); n != want+1 || err != nil {
			t.Errorf("call %d: %d, %v", want+1, n, err)
		}
	}
	if ran.Load() != 2 {
		t.Errorf("two calls, one of them delivered twice, ran %d times", ran.Load())
	}
}

func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := messagingtest.NewBroker()
		tr := b.Transport(t, nil)
		serve(t, tr)
		b.Delay(messagingtest.Match{Method: "count"}, 7*time.Second)
		start := time.Now()
		if _, err := call(t, client(tr)); err != nil || time.Since(start) != 7*time.Second {
			t.Errorf("a delayed call took %v: %v", time.Since(start), err)
		}
		b.Delay(messagingtest.Match{Method: "count"}, time.Hour)
		start = time.Now()
		err := client(tr).With(messaging.Timeout(time.Second)).Cast(t.Context(), "count", nil)
		if !errors.Is(err, messaging.ErrExpired) || time.Since(start) != time.Second {
			t.Errorf("a cast delayed beyond its time took %v: %v", time.Since(start), err)
		}
	})
}

func TestFail(t *testing.T) {
	b := messagingtest.NewBroker()
	tr := b.Transport(t, nil)
	ran := serve(t, tr)
	away := driver.Errorf(driver.ReasonNotConnected, "the broker is away")
	b.Fail(messagingtest.Match{Method: "count"}, away)
	if _, err := call(t, client(tr)); !errors.Is(err, messaging.ErrUnavailable) || !errors.Is(err, away) {
		t.Errorf("call while the broker is away: %v", err)
	}
	if s := b.Expect(t, messagingtest.Match{Method: "count"}); !errors.Is(s.Err, away) || ran.Load() != 0 {
		t.Errorf("recorded %+v, ran %d times", s, ran.Load())
	}
}

func TestInDoubt(t *testing.T) {
	for arrives, want := range map[bool]int64{true: 1, false: 0} {
		synctest.Test(t, func(t *testing.T) {
			b := messagingtest.NewBroker()
			tr := b.Transport(t, nil)
			ran := serve(t, tr)
			b.InDoubt(messagingtest.Match{Kind: driver.Cast}, arrives)
			if err := client(tr).Cast(t.Context(), "count", nil); !errors.Is(err, messaging.ErrInDoubt) {
				t.Errorf("cast in doubt: %v", err)
			}
			synctest.Wait() // until the server has nothing more to do
			if ran.Load() != want {
				t.Errorf("arrives %v: the method ran %d times", arrives, ran.Load())
			}
		})
	}
}

func TestPing(t *testing.T) {
	tr := messagingtest.NewTransport(t)
	if err := tr.Ping(t.Context()); err != nil {
		t.Errorf("ping: %v", err)
	}
	if info := tr.Info(); info.Name != "fake" || !info.Has(driver.CapRPC) {
		t.Errorf("info: %+v", info)
	}
}

// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

const (
	awayTimeout = time.Second
	// awayGrace is how much later than its timeout a call may return, awayNoise what a
	// machine that does other things adds.
	awayGrace = 250 * time.Millisecond
	awayNoise = 500 * time.Millisecond
)

// do is the method of internal/app.
var do = messaging.Method[doArgs, int]{Name: "do"}

type doArgs struct {
	N int `json:"n"`
}

// serveDo serves method do in this process until the test ends.
func serveDo(t *testing.T, tr *messaging.Transport, l *ledger) {
	t.Helper()
	ep := messaging.NewEndpoint(nil)
	do.Handle(ep, func(_ context.Context, a doArgs) (int, error) {
		l.add(event{Event: "exec", N: a.N})
		return a.N, nil
	})
	testbed.Serve(t, messaging.NewRPCServer(tr, messaging.Target{Topic: topic, Server: "s1"}, nil, ep))
}

// callOnce makes one call from this process and puts it into the ledger.
func callOnce(l *ledger, tr *messaging.Transport, n int, timeout time.Duration) {
	c := messaging.NewRPCClient(tr, messaging.Target{Topic: topic}, &messaging.RPCClientOptions{Timeout: timeout})
	start := time.Now()
	got, err := do.Call(context.Background(), c, doArgs{n})
	e := event{Event: "call", N: n, Start: start.UnixNano(), Took: time.Since(start)}
	switch _, remote := errors.AsType[*messaging.RemoteError](err); {
	case remote:
		e.Code = "remote"
	case err != nil:
		e.Code = string(messaging.CodeOf(err))
	}
	if e.Code == "" && (err != nil || got != n) {
		e.Code = "wrong"
	}
	if err != nil {
		e.Error = err.Error()
	}
	l.add(e)
}

// mustEndInTime makes 16 calls that cannot succeed, and checks when and how they end.
func mustEndInTime(t *testing.T, l *ledger, tr *messaging.Transport, first int) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() { callOnce(l, tr, first+i, awayTimeout) })
	}
	wg.Wait()
	sum := l.judge(t, awayTimeout)
	t.Log(sum)
	if limit := awayTimeout + awayGrace + awayNoise; sum.LongestMS > millis(limit) {
		t.Errorf("a call with a timeout of %v took %v ms", awayTimeout, sum.LongestMS)
	}
	for code := range sum.Errors {
		switch messaging.Code(code) {
		case messaging.CodeNoReply, messaging.CodeExpired, messaging.CodeUnavailable, messaging.CodeInDoubt:
		default:
			t.Errorf("calls without a broker ended with %v", sum.Errors)
		}
	}
}

// mustRecover calls until calls succeed on each transport. The first ones may go into a
// connection that is gone, and end in doubt.
func mustRecover(t *testing.T, l *ledger, first int, transports ...*messaging.Transport) {
	t.Helper()
	for _, tr := range transports {
		began := time.Now()
		testbed.Eventually(t, recoveryLimit, "calls succeed again", func() bool {
			callOnce(l, tr, first, awayTimeout)
			first++
			return l.answered(began) > 0
		})
	}
	l.check(t, awayTimeout, 1, nil)
}

// testPauseBroker stops the broker's process, which keeps its connections: the timeout of a
// call bounds the connecting of a new transport and the publishing of a connected one.
func testPauseBroker(t *testing.T, broker *peertest.RabbitMQ) {
	l := newLedger()
	server, _ := bed.Open(t, broker.URL("/"))
	connected, _ := bed.Open(t, broker.URL("/"))
	serveDo(t, server, l)
	callOnce(l, connected, 1, awayTimeout)
	fresh, _ := bed.Open(t, broker.URL("/")) // the driver connects in its own time
	if err := broker.Pause(); err != nil {
		t.Fatal(err)
	}
	resume := sync.OnceFunc(func() {
		if err := broker.Resume(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(resume)
	late, _ := bed.Open(t, broker.URL("/"))
	first := 2
	for _, tt := range []struct {
		name string
		tr   *messaging.Transport
	}{{"connected", connected}, {"never called", fresh}, {"never connected", late}} {
		t.Run(tt.name, func(t *testing.T) { mustEndInTime(t, l, tt.tr, first) })
		first += callers
	}
	resume()
	mustRecover(t, l, first, connected, fresh, late)
}

// TestBrokerAway makes calls while the broker cannot be reached: its port is closed, or the
// network lost its way.
func TestBrokerAway(t *testing.T) {
	bed.Wires(t, testbed.NeedRestart, testbed.NeedProxy)
	broker := bed.Broker(t)
	for _, tt := range []struct {
		name   string
		vanish func(*peertest.AMQPProxy)
		back   func(*peertest.AMQPProxy)
	}{
		{"refuses", func(p *peertest.AMQPProxy) { p.Refuse(true); p.CutAll() }, func(p *peertest.AMQPProxy) { p.Refuse(false) }},
		{"is silent", func(p *peertest.AMQPProxy) { p.Pause() }, func(p *peertest.AMQPProxy) { p.CutAll(); p.Resume() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			vhost, proxy, l := broker.NewVhost(t), peertest.RunAMQPProxy(t, broker.Addr()), newLedger()
			server, _ := bed.Open(t, broker.URL(vhost))
			connected, _ := bed.Open(t, broker.URLAt(proxy.Addr(), vhost))
			serveDo(t, server, l)
			callOnce(l, connected, 1, awayTimeout)
			tt.vanish(proxy)
			late, _ := bed.Open(t, broker.URLAt(proxy.Addr(), vhost))
			mustEndInTime(t, l, connected, 2)
			mustEndInTime(t, l, late, 2+callers)
			tt.back(proxy)
			mustRecover(t, l, 2+2*callers, connected, late)
		})
	}
	t.Run("was never there", func(t *testing.T) {
		tr, _ := bed.Open(t, broker.URLAt("127.0.0.1:1", "/"))
		mustEndInTime(t, newLedger(), tr, 1)
	})
}

// SPDX-License-Identifier: Apache-2.0

package functional

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/parleymq/parley/messaging"
)

// exchange is one scenario of TestSendReceive in oslo_messaging/tests/drivers/test_impl_rabbit.py.
type exchange struct {
	senders int
	context messaging.RequestContext
	reply   string // JSON; empty for one that names its call
	outcome string // success, failure or expected
	timeout string // none, timeout or monitor
}

// exchanges are upstream's 216 scenarios.
func exchanges() []exchange {
	var all []exchange
	for _, senders := range []int{1, 10} {
		for _, rc := range []messaging.RequestContext{nil, {"user": "mark"}} {
			for _, reply := range []string{"", "null", "[]", "{}", "false", "0"} {
				for _, outcome := range []string{"success", "failure", "expected"} {
					for _, timeout := range []string{"none", "timeout", "monitor"} {
						all = append(all, exchange{senders, rc, reply, outcome, timeout})
					}
				}
			}
		}
	}
	return all
}

func (x exchange) String() string {
	reply := x.reply
	if reply == "" {
		reply = "its id"
	}
	return fmt.Sprintf("%d senders, %d in the context, reply %s, %s", x.senders, len(x.context), reply, x.outcome)
}

var errZeroDivision = &messaging.RemoteError{Module: "builtins", Class: "ZeroDivisionError"}

// answers is a server's method that holds every request until its test releases it.
type answers struct {
	mu      sync.Mutex // guards held
	held    map[string]chan struct{}
	arrived chan string
}

// hold makes the gate that a request will wait at.
func (a *answers) hold(id string) chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	gate := make(chan struct{})
	a.held[id] = gate
	return gate
}

// work waits at the gate and answers as it was asked to. A caller whose time is over is not
// waited for.
func (a *answers) work(ctx context.Context, args json.RawMessage) (any, error) {
	var asked struct{ ID, Reply, Outcome string }
	if err := json.Unmarshal(args, &asked); err != nil {
		return nil, err
	}
	a.mu.Lock()
	gate := a.held[asked.ID]
	a.mu.Unlock()
	select {
	case a.arrived <- asked.ID:
	case <-ctx.Done():
	}
	select {
	case <-gate:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	switch asked.Outcome {
	case "failure":
		return nil, errZeroDivision
	case "expected":
		return nil, messaging.Expected(errZeroDivision)
	}
	if asked.Reply != "" {
		return json.RawMessage(asked.Reply), nil
	}
	rc, _ := messaging.RequestContextFrom(ctx)
	return fmt.Sprint(asked.ID, rc["user"]), nil
}

// TestSendReceive: many calls on one transport, answered in another order than they were asked
// in, with every kind of answer. Nobody gets another's.
func TestSendReceive(t *testing.T) {
	onWires(t, func(t *testing.T, w *world) {
		tr := w.open(t, messaging.Options{})
		a := &answers{held: make(map[string]chan struct{}), arrived: make(chan string)}
		ep := messaging.NewEndpoint(nil)
		ep.HandleRaw("work", a.work)
		serve(t, tr, messaging.Target{Topic: "testtopic", Server: "server"}, nil, ep)
		if all := exchanges(); len(all) != 216 {
			t.Errorf("%d scenarios", len(all))
		}
		c := client(tr, messaging.Target{Topic: "testtopic"})
		inVain := make(map[string][]exchange) // those with a timeout, by what they need
		for i, x := range exchanges() {
			if x.timeout != "none" {
				key := fmt.Sprintf("%d senders, %d in the context, %s", x.senders, len(x.context), x.timeout)
				inVain[key] = append(inVain[key], x)
				continue
			}
			t.Run(x.String(), func(t *testing.T) { testExchange(t, c, a, x, i) })
		}
		for key, all := range inVain {
			t.Run(key, func(t *testing.T) { testTimesOut(t, c, a, all) })
		}
	})
}

// answer is what one sender got.
type answer struct {
	result json.RawMessage
	err    error
}

func (x exchange) send(t *testing.T, c *messaging.RPCClient, id string) answer {
	ctx := messaging.WithRequestContext(soon(t), x.context)
	var got answer
	got.err = c.Call(ctx, "work", map[string]any{"id": id, "reply": x.reply, "outcome": x.outcome}, &got.result)
	return got
}

func testExchange(t *testing.T, c *messaging.RPCClient, a *answers, x exchange, number int) {
	ids := make([]string, x.senders)
	gates := make([]chan struct{}, x.senders)
	answered := make([]chan answer, x.senders)
	for i := range ids {
		ids[i] = fmt.Sprintf("%d.%d", number, i)
		gates[i], answered[i] = a.hold(ids[i]), make(chan answer, 1)
		go func() { answered[i] <- x.send(t, c, ids[i]) }()
	}
	for range ids {
		select {
		case <-a.arrived:
		case <-soon(t).Done():
			t.Fatal("a request did not arrive")
		}
	}
	for _, i := range order(x.senders) {
		close(gates[i])
		x.check(t, ids[i], <-answered[i])
	}
}

// order is upstream's: in reverse, and the first before the second.
func order(n int) []int {
	var all []int
	for i := range n {
		all = append(all, i)
	}
	slices.Reverse(all)
	if n > 1 {
		all[n-1], all[n-2] = all[n-2], all[n-1]
	}
	return all
}

func (x exchange) check(t *testing.T, id string, got answer) {
	t.Helper()
	want := x.reply
	if want == "" {
		want = fmt.Sprintf("%q", fmt.Sprint(id, x.context["user"]))
	}
	switch {
	case x.outcome != "success" && !errors.Is(got.err, errZeroDivision):
		t.Errorf("%s: got %v", id, got.err)
	case x.outcome == "success" && (got.err != nil || string(got.result) != want):
		t.Errorf("%s: got %s, %v, want %s", id, got.result, got.err, want)
	}
}

// testTimesOut has nobody released: every sender of all these scenarios gives up.
func testTimesOut(t *testing.T, c *messaging.RPCClient, a *answers, all []exchange) {
	const timeout = 10 * time.Millisecond
	c = c.With(messaging.Timeout(timeout))
	if all[0].timeout == "monitor" {
		c = c.With(messaging.Monitor(time.Minute)) // twice the timeout can be over at once on a busy machine
	}
	var senders sync.WaitGroup
	for _, x := range all {
		for range x.senders {
			senders.Go(func() {
				if got := x.send(t, c, "nobody's"); !errors.Is(got.err, context.DeadlineExceeded) {
					t.Errorf("%s: got %s, %v", x, got.result, got.err)
				}
			})
		}
	}
	gone := make(chan struct{})
	go func() { senders.Wait(); close(gone) }()
	for {
		select {
		case <-a.arrived: // or not, if its time was over before
		case <-gone:
			return
		}
	}
}

// TestRepliesFindTheirCallers is TestRacyWaitForReply: the answer to one caller comes while
// another waits, and a cast whose method returns something is not answered at all.
func TestRepliesFindTheirCallers(t *testing.T) {
	onWires(t, func(t *testing.T, w *world) {
		tr := w.open(t, messaging.Options{})
		a := &answers{held: make(map[string]chan struct{}), arrived: make(chan string)}
		ep := messaging.NewEndpoint(nil)
		ep.HandleRaw("work", a.work)
		serve(t, tr, messaging.Target{Topic: "testtopic", Server: "server"}, nil, ep)
		c := client(tr, messaging.Target{Topic: "testtopic"})
		gates, answered := [2]chan struct{}{}, [2]chan answer{}
		for i, id := range []string{"0", "1"} {
			gates[i], answered[i] = a.hold(id), make(chan answer, 1)
			go func() { answered[i] <- exchange{outcome: "success"}.send(t, c, id) }()
			<-a.arrived
		}
		close(gates[0])
		close(gates[1])
		for i := range answered {
			if got := <-answered[i]; got.err != nil || string(got.result) != fmt.Sprintf(`"%d<nil>"`, i) {
				t.Errorf("caller %d got %s, %v", i, got.result, got.err)
			}
		}
		close(a.hold("2"))
		if err := c.Cast(soon(t), "work", map[string]any{"id": "2"}); err != nil {
			t.Fatal(err)
		}
		<-a.arrived
		close(a.hold("3"))
		done := make(chan answer, 1)
		go func() { done <- exchange{outcome: "success"}.send(t, c, "3") }()
		<-a.arrived
		if got := <-done; got.err != nil {
			t.Error(got.err)
		}
		if s := tr.Stats(); s.LateReplies != 0 || s.Waiting != 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

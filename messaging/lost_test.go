// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/memory"
	"github.com/parleymq/parley/plugin/driver"
)

// newDynamicRig is a transport whose reply address ends when the test says so, and a server on
// another one. The server's first handler waits for release.
func newDynamicRig(t *testing.T, opts *Options) (r *rig, broker *memory.Driver, runs *atomic.Int64, began, release chan struct{}) {
	t.Helper()
	broker = memory.NewDynamic()
	r = newRig(t, opts, func(f *faults) {
		f.Conn, f.info = openMemory(t, broker), broker.Describe()
	})
	server := NewTransport(openMemory(t, broker), nil)
	t.Cleanup(func() { closeTransport(t, server) })
	runs, began, release = new(atomic.Int64), make(chan struct{}, 10), make(chan struct{})
	ep := NewEndpoint(nil)
	ep.HandleFunc("wait", func(ctx context.Context, _ map[string]any) (any, error) {
		runs.Add(1)
		began <- struct{}{}
		select {
		case <-release:
		case <-ctx.Done():
		}
		return "done", nil
	})
	serve(t, server, computeTarget, nil, ep)
	return r, broker, runs, began, release
}

func TestLostReplyEndsItsCall(t *testing.T) {
	for name, monitor := range map[string]time.Duration{"plain": 0, "monitored": time.Minute} {
		t.Run(name, func(t *testing.T) {
			r, broker, _, began, release := newDynamicRig(t, nil)
			c := NewRPCClient(r.Transport, Target{Topic: "compute"}, &RPCClientOptions{Timeout: 10 * time.Minute, Monitor: monitor})
			result := make(chan error, 1)
			go func() { result <- c.Call(t.Context(), "wait", nil, nil) }()
			<-began
			broker.EndReplies("")
			err := <-result
			if !errors.Is(err, ErrInDoubt) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrNoReply) {
				t.Errorf("got %v", err)
			}
			var e *Error
			if !errors.As(err, &e) || e.Op != "call wait" || e.Hint == "" || !strings.Contains(e.Message, "its reply is lost") {
				t.Errorf("got %#v", e)
			}
			if d := driver.AsError(err); !d.InDoubt || d.Reason != driver.ReasonNotConnected {
				t.Errorf("the cause is %#v", d)
			}
			close(release)
			var reply string
			if err := c.Call(t.Context(), "wait", nil, &reply); err != nil || reply != "done" {
				t.Errorf("the next call: %q, %v", reply, err)
			}
			s := r.Stats()
			if s.InDoubt != 1 || s.LateReplies != 0 {
				t.Errorf("%d calls in doubt, %d late replies", s.InDoubt, s.LateReplies)
			}
		})
	}
}

// A method that may run again is called again.
func TestLostReplyOfARepeatableCall(t *testing.T) {
	r, broker, runs, began, release := newDynamicRig(t, nil)
	c := NewRPCClient(r.Transport, Target{Topic: "compute"}, &RPCClientOptions{Timeout: time.Minute, Repeatable: true})
	result := make(chan error, 1)
	var reply string
	go func() { result <- c.Call(t.Context(), "wait", nil, &reply) }()
	<-began
	broker.EndReplies("")
	close(release)
	if err := <-result; err != nil || reply != "done" {
		t.Errorf("got %q, %v after %d runs", reply, err, runs.Load())
	}
}

// A lost call that nobody waits for is nothing: neither a late reply nor a panic.
func TestLostReplyOfNobody(t *testing.T) {
	r, _, _, _, release := newDynamicRig(t, nil)
	close(release)
	lost := driver.Errorf(driver.ReasonInternal, "lost")
	r.replies.deliver(t.Context(), &driver.Delivery{Message: driver.Message{Kind: driver.Reply, CallID: "gone"}, Lost: lost})
	if s := r.Stats(); s.LateReplies != 0 {
		t.Errorf("%d late replies", s.LateReplies)
	}
	if lost.InDoubt {
		t.Error("the driver's error was changed")
	}
}

// TestLostRepliesAndRetries drives the states of one call.
func TestLostRepliesAndRetries(t *testing.T) {
	lost := driver.Errorf(driver.ReasonNotConnected, "lost")
	for _, tt := range []struct {
		name       string
		sending    uint32
		repeatable bool
		want       outcome // err is not compared
		none       bool
	}{
		{name: "confirmed", sending: sendDone, want: outcome{lost: true}},
		{name: "in doubt", sending: sendInDoubt, want: outcome{lost: true}},
		{name: "repeatable and confirmed", sending: sendDone, repeatable: true, want: outcome{lost: true, again: true}},
		{name: "repeatable and about to be sent again", sending: sendInDoubt, repeatable: true, none: true},
		{name: "repeatable and being sent again", sending: sendInFlight, repeatable: true, none: true},
		{name: "repeatable and not sent again", sending: sendExhausted, repeatable: true, want: outcome{lost: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, nil).replies
			p := &pending{replies: r, outcome: make(chan outcome, 2), tries: retries{limit: -1, repeatable: tt.repeatable}, cancel: func() {}}
			p.msg.CallID = "c"
			if err := r.add(p); err != nil {
				t.Fatal(err)
			}
			defer r.take("c")
			p.sending.Store(tt.sending)
			for range 2 { // the second one finds nothing more
				r.deliver(t.Context(), &driver.Delivery{Message: driver.Message{Kind: driver.Reply, CallID: "c"}, Lost: lost})
			}
			want := 1
			if tt.none {
				want = 0
			}
			if len(p.outcome) != want {
				t.Fatalf("%d outcomes", len(p.outcome))
			}
			if tt.none {
				return
			}
			out := <-p.outcome
			if out.lost != tt.want.lost || out.again != tt.want.again || !inDoubt(out.err) {
				t.Errorf("got %+v", out)
			}
		})
	}
}

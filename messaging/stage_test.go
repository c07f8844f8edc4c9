// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// stage is a server whose broker is the test: it delivers what the test says, and notes what the
// server sends and settles.
type stage struct {
	*rig
	server *RPCServer
	served chan error
	inbox  chan []*driver.Delivery
	source driver.Source
	// receives gives the listener the ability Receiver; released is what came back of it.
	receives bool
	released atomic.Int64
	// can is what the driver can do beside the broker in memory.
	can []driver.Capability

	// onReply is asked before a reply or heartbeat is taken; nil takes all. Set it before use.
	onReply func(*driver.Message) error

	mu       sync.Mutex // guards the rest
	rest     []*driver.Delivery
	stopped  bool
	closed   bool
	sent     []driver.Message
	outcomes []string // "token result"
	dones    []string // the outcomes of each Done
}

// newStage returns a server that serves; it is shut down at the end of the test.
func newStage(t testing.TB, opts *RPCServerOptions, eps ...*Endpoint) *stage {
	t.Helper()
	return newStageOf(t, nil, nil, opts, eps...)
}

func newStageOf(t testing.TB, transport *Options, onReply func(*driver.Message) error, opts *RPCServerOptions, eps ...*Endpoint) *stage {
	t.Helper()
	s := &stage{inbox: make(chan []*driver.Delivery, 64), onReply: onReply, served: make(chan error, 1)}
	s.serve(t, transport, opts, eps...)
	return s
}

// serve starts the server.
func (s *stage) serve(t testing.TB, transport *Options, opts *RPCServerOptions, eps ...*Endpoint) {
	t.Helper()
	s.rig = newRig(t, transport, func(f *faults) {
		f.onSend = s.send
		f.info.Capabilities = append(f.info.Capabilities, s.can...)
		f.wrap = func(src driver.Source, l driver.Listener) driver.Listener {
			if src.Kind != driver.SourceServer {
				return l
			}
			if err := l.Close(context.Background()); err != nil {
				t.Error(err)
			}
			s.source = src
			if s.receives {
				return stageReceiver{s}
			}
			return s
		}
	})
	s.server = NewRPCServer(s.Transport, computeTarget, opts, eps...)
	go func() { s.served <- s.server.Serve(context.Background()) }()
	wait(t, s.server.Ready(), "the server")
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.server.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		<-s.served //nolint:errcheck // how Serve ends is another test
	})
}

func (s *stage) send(_ context.Context, m *driver.Message) (bool, error) {
	if m.Kind != driver.Reply && m.Kind != driver.Heartbeat {
		return false, nil
	}
	var err error
	if s.onReply != nil {
		err = s.onReply(m)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.sent = append(s.sent, *m)
	}
	return true, err
}

// Poll implements driver.Listener.
func (s *stage) Poll(ctx context.Context, limit int) ([]*driver.Delivery, error) {
	s.mu.Lock()
	stopped, rest := s.stopped, s.rest
	if stopped {
		n := min(limit, len(rest))
		s.rest = rest[n:]
		s.mu.Unlock()
		if n == 0 {
			return nil, driver.Errorf(driver.ReasonClosed, "stopped")
		}
		return rest[:n], nil
	}
	s.mu.Unlock()
	select {
	case b := <-s.inbox:
		return b, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// stageReceiver is a stage with the ability Receiver.
type stageReceiver struct{ *stage }

// Receive implements driver.Receiver.
func (s stageReceiver) Receive(ctx context.Context, limit int, f func([]*driver.Delivery)) error {
	for {
		b, err := s.Poll(ctx, limit)
		if err != nil {
			return err
		}
		f(b)
	}
}

// Release implements driver.Receiver.
func (s stageReceiver) Release(n int) { s.released.Add(int64(n)) }

// Stop implements driver.Stopper.
func (s *stage) Stop(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	return nil
}

// Done implements driver.Listener.
func (s *stage) Done(_ context.Context, outcomes []driver.Outcome) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.outcomes)
	defer func() { s.dones = append(s.dones, strings.Join(s.outcomes[before:], ", ")) }()
	for _, o := range outcomes {
		s.outcomes = append(s.outcomes, fmt.Sprintf("%d %s", o.Token, o.Result))
	}
	if s.closed {
		s.outcomes = append(s.outcomes, "after Close")
	}
	return nil
}

// Close implements driver.Listener.
func (s *stage) Close(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

// deliver delivers one message.
func (s *stage) deliver(d *driver.Delivery) { s.inbox <- []*driver.Delivery{d} }

// settled returns the outcomes so far, sorted.
func (s *stage) settled() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(slices.Sorted(slices.Values(s.outcomes)), ", ")
}

// replies returns what was sent, one text each: call id and body or failure, or "beat".
func (s *stage) replies() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var texts []string
	for _, m := range s.sent {
		switch {
		case m.Kind == driver.Heartbeat:
			texts = append(texts, m.CallID+" beat")
		case len(m.Failure) > 0:
			f := decodeFailure(m.Failure)
			texts = append(texts, m.CallID+" "+f.Class+": "+f.Message)
		default:
			texts = append(texts, m.CallID+" "+string(m.Body))
		}
	}
	return texts
}

// reply waits for the reply to a call.
func (s *stage) reply(t testing.TB, callID string) string {
	t.Helper()
	var found string
	eventually(t, "the reply to "+callID, func() bool {
		for _, r := range s.replies() {
			if strings.HasPrefix(r, callID+" ") && r != callID+" beat" {
				found = strings.TrimPrefix(r, callID+" ")
				return true
			}
		}
		return false
	})
	return found
}

func (s *stage) logged() string { return strings.Join(s.log.all(), "") }

// callOf is a call as it is received. Its call id is its unique id.
func callOf(id, method, args string) *driver.Delivery {
	return &driver.Delivery{Message: driver.Message{
		Kind: driver.Call, UniqueID: id, CallID: id, ReplyTo: "caller", Body: []byte(`{"method":"` + method + `","args":` + args + `}`),
	}}
}

// castOf is a cast as it is received.
func castOf(id, method, args string) *driver.Delivery {
	d := callOf(id, method, args)
	d.Kind, d.CallID, d.ReplyTo = driver.Cast, "", ""
	return d
}

// withToken gives a delivery a token.
func withToken(d *driver.Delivery, token uint64) *driver.Delivery {
	d.Token = token
	return d
}

// wanted gives a delivery a time left.
func wanted(d *driver.Delivery, left time.Duration) *driver.Delivery {
	d.TimeLeft = left
	return d
}

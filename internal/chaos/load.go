// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/parleymq/parley/messaging"
)

const (
	callTimeout = 2 * time.Second
	castTimeout = 3 * time.Second
	// pace is between two requests of one caller, at most. It leaves the processors to the
	// faults.
	pace = 40 * time.Millisecond
)

// load is what the callers and senders of all ends do.
type load struct {
	cancel  context.CancelFunc
	callers sync.WaitGroup
}

// startLoad lets each end call and cast to the other.
func (r *runner) startLoad() {
	ctx, cancel := context.WithCancel(context.Background())
	r.load = &load{cancel: cancel}
	for i, e := range r.ends {
		other := r.ends[(i+1)%len(r.ends)].name
		calls := messaging.NewRPCClient(e.clients, messaging.Target{Topic: callTopic(other)}, &messaging.RPCClientOptions{Timeout: callTimeout})
		casts := messaging.NewRPCClient(e.clients, messaging.Target{Topic: castTopic(other)}, &messaging.RPCClientOptions{Timeout: castTimeout})
		for range r.opts.Callers {
			r.load.callers.Go(func() { repeat(ctx, func() { r.call(e, calls) }) })
		}
		for range r.opts.Senders {
			r.load.callers.Go(func() { repeat(ctx, func() { r.cast(e, casts) }) })
		}
	}
}

// repeat makes requests until ctx ends. The last one is finished.
func repeat(ctx context.Context, request func()) {
	for ctx.Err() == nil {
		request()
		pause(ctx, rand.N(pace)) //nolint:gosec // no secret
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// call makes one call. Its context never ends by itself: what bounds it is the promise.
func (r *runner) call(e *end, c *messaging.RPCClient) {
	n := r.ledger.begin(e.name, false, callTimeout)
	got, err := do.Call(context.Background(), c, args{n, callTimeout.Milliseconds()})
	if err == nil && got != n {
		err = errWrongAnswer
	}
	if r.sabotage.hang.take() {
		pause(context.Background(), callTimeout+2*r.opts.Slack)
	}
	r.ledger.end(n, err)
}

// cast sends one cast; no error means that the broker has it.
func (r *runner) cast(e *end, c *messaging.RPCClient) {
	n := r.ledger.begin(e.name, true, castTimeout)
	r.ledger.end(n, note.Cast(context.Background(), c, args{n, castTimeout.Milliseconds()}))
}

// stop lets no more requests begin and waits for those that have, unless they hang.
func (l *load) stop(limit time.Duration) {
	l.cancel()
	ended := make(chan struct{})
	go func() { // for ever, when a caller hangs: it is what the ledger tells, and the leaks
		l.callers.Wait()
		close(ended)
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
	}
}

// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/parleymq/parley/messaging"
)

var (
	// errHung is in the chain of what did not return in its time.
	errHung = errors.New("it hangs")
	// errNobody says that there was nothing to hit.
	errNobody = errors.New("there is no process to hit")
)

// breath is between two faults of one kind, when the plan cannot be kept.
const breath = 500 * time.Millisecond

// fault is one that was made.
type fault struct {
	planned
	end    string // that it hit; empty for the broker
	what   string // it was, in words
	start  time.Duration
	until  time.Duration // when what it broke was whole again, as far as it is ours to heal
	err    error         // it did not come about, or it broke a promise
	healed time.Duration // when calls that began after start had been answered; negative is never
	alone  bool          // no other was about
}

func (f *fault) String() string {
	text := fmt.Sprintf("%s-%s %s %s", clock(f.start), clock(f.until), f.kind, f.end)
	if f.what != "" {
		text += ", " + f.what
	}
	if f.err != nil {
		text += ": " + f.err.Error()
	}
	return text
}

// faultLog has all faults that were made.
type faultLog struct {
	mu  sync.Mutex
	all []*fault // guarded by mu
}

func (l *faultLog) add(f *fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, f)
}

// during are the faults about in a time, in order.
func (l *faultLog) during(from, to time.Duration) []*fault {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []*fault
	for _, f := range l.all {
		if f.start <= to && f.until >= from {
			found = append(found, f)
		}
	}
	slices.SortFunc(found, func(a, b *fault) int { return int(a.start - b.start) })
	return found
}

// makeFaults makes the planned faults, each kind on a goroutine of its own, until ctx ends.
func (r *runner) makeFaults(ctx context.Context) {
	byKind := make(map[Kind][]planned)
	for _, p := range plan(r.opts.Seed, r.opts.Duration, r.opts.PerKind) {
		byKind[p.kind] = append(byKind[p.kind], p)
	}
	began := time.Now()
	var kinds sync.WaitGroup
	for _, kind := range r.opts.Only {
		kinds.Go(func() {
			for _, p := range byKind[kind] {
				pause(ctx, max(p.at-time.Since(began), breath))
				if ctx.Err() != nil {
					return
				}
				if f := r.make(ctx, p); errors.Is(f.err, messaging.ErrUnsupported) {
					r.opts.Logger.Warn("a kind of fault cannot be made", "kind", string(kind), "err", f.err.Error())
					return
				}
			}
		})
	}
	kinds.Wait()
}

// make makes one fault.
func (r *runner) make(ctx context.Context, p planned) *fault {
	e := r.ends[p.hits(len(r.ends))]
	f := &fault{planned: p, end: e.name, start: r.ledger.now()}
	switch p.kind {
	case KillDriver:
		r.killDriver(f, e)
	case StopDriver:
		r.stopDriver(f, e)
	case RestartBroker, KillBroker:
		f.end = ""
		r.restartBroker(ctx, f)
	case CutNetwork:
		r.cutNetwork(ctx, f, e)
	case SwapDriver:
		r.swapDriver(ctx, f, e)
	case SlowHandler:
		r.slowHandler(f, e)
	case AddListener:
		r.addListener(ctx, f, e)
	}
	f.until = r.ledger.now()
	r.faults.add(f)
	r.opts.Logger.Info("fault", "is", f.String())
	return f
}

// slowHandler makes some handlers slower than their callers wait: half of the times they do not
// even heed their context, and answer late.
func (r *runner) slowHandler(f *fault, e *end) {
	deaf := f.variant(2) == 1
	const handlers = 8
	f.what = fmt.Sprintf("%d handlers, deaf: %t", handlers, deaf)
	e.slow.set(handlers, f.between(100*time.Millisecond, 800*time.Millisecond), deaf)
}

// addListener starts further servers on the topics of an end, and shuts them down a moment
// later. They are at the end itself or at the other one, and every other time they are shut down
// so hastily that their handlers are cut off.
func (r *runner) addListener(ctx context.Context, f *fault, e *end) {
	at := e
	if f.variant(2) == 1 {
		at = r.ends[(f.hits(len(r.ends))+1)%len(r.ends)]
	}
	servers := at.serve(e.name, "extra")
	up, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	ready := 0
	for _, s := range servers {
		if s.ready(up) == nil { // when the broker is away they are shut down before they serve
			ready++
		}
	}
	pause(ctx, f.between(100*time.Millisecond, 1500*time.Millisecond))
	hasty := f.variant(4) > 1
	f.what = fmt.Sprintf("of %d servers at %s %d were ready, hasty end: %t", len(servers), at.name, ready, hasty)
	for _, s := range servers {
		limit := 10 * time.Second
		if hasty && s.again {
			limit = time.Millisecond
		}
		down, cancel := context.WithTimeout(context.Background(), limit)
		f.err = errors.Join(f.err, s.stop(down))
		cancel()
	}
}

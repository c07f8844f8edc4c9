// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// store is where a keeper keeps records. All its methods but hints are called by one goroutine
// at a time and never after close.
type store interface {
	// announce makes rec visible to everybody who looks from then on.
	announce(ctx context.Context, rec *Record) error
	// look brings the view up to date with what was announced before the call.
	look(ctx context.Context) error
	// tick is called each second: it renews what was announced, which is announced anew when it
	// is lost, and looks for changes as cheaply as the store can.
	tick(ctx context.Context) error
	// withdraw takes back what was announced.
	withdraw(ctx context.Context) error
	// hints tell that something may have changed.
	hints() <-chan struct{}
	close()
}

const (
	// tickEvery is how often a store is asked for changes when nothing hints at one. With a short
	// ttl it is ttl/ticks, so that renewals are in time.
	tickEvery = time.Second
	ticks     = 2 * renewals
	// hintDelay lets a burst of hints be one look.
	hintDelay = 20 * time.Millisecond
	// hintShare keeps looks for hints to a small part of the time, when many nodes start at once.
	hintShare = 20
	// slowestHint is how late a hint is followed at most.
	slowestHint = 5 * time.Second
	// withdrawTime bounds what Close takes for a store that hangs, whatever its ctx says.
	withdrawTime = 5 * time.Second
)

// keeper is a Registry with a store: one goroutine does all the work with it.
type keeper struct {
	*board
	store store
	log   *slog.Logger
	every time.Duration

	calls chan call
	stop  context.CancelFunc
	ready chan struct{} // closed after the first look
	done  chan struct{} // closed when the goroutine ended
	ended chan struct{} // closed when Close is through

	mu     sync.Mutex // guards all below
	wanted *Record    // what is to be announced
	dirty  bool       // it is not announced yet
	closed bool
	result error // Close's
}

// call asks the goroutine to announce what is wanted, or to look.
type call struct {
	look bool
	done chan error // has room for the answer
}

// startKeeper starts to work with s, of which the keeper is now the owner.
func startKeeper(b *board, s store, o Options, log *slog.Logger) *keeper {
	ctx, stop := context.WithCancel(context.Background())
	k := &keeper{
		board: b, store: s, log: log, every: min(tickEvery, o.TTL/ticks), calls: make(chan call), stop: stop,
		ready: make(chan struct{}), done: make(chan struct{}), ended: make(chan struct{}),
	}
	go k.run(ctx)
	return k
}

// waitReady waits a moment for the first look, so that what is near at hand is there at once.
func (k *keeper) waitReady(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-k.ready:
	case <-timer.C:
	}
}

// Publish implements Registry.
func (k *keeper) Publish(ctx context.Context, rec Record) error {
	if err := k.want(&rec); err != nil {
		return err
	}
	return k.ask(ctx, false)
}

// want says what to announce from now on, at the latest with the next tick.
func (k *keeper) want(rec *Record) error {
	if err := checkRecord(rec); err != nil {
		return driver.Errorf(driver.ReasonConfig, "announce this node: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.closed:
		return errClosed()
	case k.wanted == nil:
	case k.wanted.Node != rec.Node:
		return driver.Errorf(driver.ReasonInternal, "announce node %s: this registry announces node %s", rec.Node, k.wanted.Node)
	case k.wanted.Version > rec.Version:
		return nil // a newer one is announced, or about to be
	}
	k.wanted, k.dirty = rec.clone(), true
	return nil
}

// Refresh implements Registry.
func (k *keeper) Refresh(ctx context.Context) error { return k.ask(ctx, true) }

func (k *keeper) ask(ctx context.Context, look bool) error {
	c := call{look: look, done: make(chan error, 1)}
	select {
	case k.calls <- c:
	case <-k.done:
		return errClosed()
	case <-ctx.Done():
		return k.late(ctx)
	}
	select {
	case err := <-c.done:
		return err
	case <-ctx.Done():
		return k.late(ctx)
	}
}

// late is the error of a call whose ctx ended: the cause, when one is known.
func (k *keeper) late(ctx context.Context) error {
	e, ok := errors.AsType[*driver.Error](k.Health())
	if !ok {
		return context.Cause(ctx)
	}
	late := *e
	late.Err = errors.Join(context.Cause(ctx), e.Err)
	return &late
}

func errClosed() error { return driver.Errorf(driver.ReasonClosed, "the discovery of nodes is closed") }

// run does all that is done with the store until ctx ends.
func (k *keeper) run(ctx context.Context) {
	defer close(k.done)
	k.heal(k.store.look(ctx))
	close(k.ready)
	tick := time.NewTicker(k.every)
	defer tick.Stop()
	var soon <-chan time.Time // nil while nothing hinted at a change
	var took time.Duration    // by the last look for a hint
	for {
		select {
		case <-ctx.Done():
			return
		case c := <-k.calls:
			k.serve(ctx, c)
		case <-tick.C:
			k.tick(ctx)
		case <-k.store.hints():
			if soon == nil {
				soon = time.After(min(hintDelay+hintShare*took, slowestHint))
			}
		case <-soon:
			soon = nil
			began := time.Now()
			k.heal(k.store.look(ctx))
			took = time.Since(began)
		}
	}
}

func (k *keeper) tick(ctx context.Context) {
	if err := k.announce(ctx); err != nil {
		k.heal(err)
		return
	}
	k.heal(k.store.tick(ctx))
}

// serve answers c and all who wait with it: one look is for all of them.
func (k *keeper) serve(ctx context.Context, c call) {
	waiting := []call{c}
	for more := true; more; {
		select {
		case c := <-k.calls:
			waiting = append(waiting, c)
		default:
			more = false
		}
	}
	announced := k.announce(ctx)
	looked := announced
	if announced == nil {
		looked = k.lookFor(ctx, waiting)
	}
	k.heal(looked)
	for _, c := range waiting {
		if c.look {
			c.done <- looked
		} else {
			c.done <- announced
		}
	}
}

// lookFor looks when one of those who wait wants it.
func (k *keeper) lookFor(ctx context.Context, waiting []call) error {
	for _, c := range waiting {
		if c.look {
			return k.store.look(ctx)
		}
	}
	return nil
}

// announce writes what is wanted and not yet written.
func (k *keeper) announce(ctx context.Context) error {
	k.mu.Lock()
	rec, dirty := k.wanted, k.dirty
	k.mu.Unlock()
	if !dirty {
		return nil
	}
	if err := k.store.announce(ctx, rec); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.dirty = k.wanted != rec
	return nil
}

// heal keeps and logs what the store's state has become.
func (k *keeper) heal(err error) {
	if errors.Is(err, context.Canceled) {
		return // by Close
	}
	before := k.setHealth(err)
	switch {
	case err != nil && (before == nil || before.Error() != err.Error()):
		k.log.Warn("discovery of nodes does not work now: what was known stays known", "error", err)
	case err == nil && before != nil:
		k.log.Info("discovery of nodes works again")
	}
}

// Close implements Registry.
func (k *keeper) Close(ctx context.Context) error {
	k.mu.Lock()
	first := !k.closed
	k.closed = true
	k.mu.Unlock()
	if first {
		k.stop()
		go k.finish(ctx)
	}
	select {
	case <-k.ended:
		k.mu.Lock()
		defer k.mu.Unlock()
		return k.result
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// finish ends what Close started, also when a store hangs for longer than its caller waits.
func (k *keeper) finish(ctx context.Context) {
	defer close(k.ended)
	<-k.done
	ctx, cancel := context.WithTimeout(ctx, withdrawTime)
	defer cancel()
	err := k.store.withdraw(ctx)
	k.store.close()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.result = err
}

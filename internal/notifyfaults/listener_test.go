// SPDX-License-Identifier: Apache-2.0

package notifyfaults

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

// listenerSettings are those of an application that listens.
type listenerSettings struct {
	Topic       string // instead of the ledger's
	Pool        string
	Concurrency int
	Ordered     bool // by publisher
	Batches     bool
	Requeues    int // every so many-th is refused the first time
	Window      int // how many it remembers
	// Failing lets the handler fail always, by the policy.
	Failing     bool
	MaxRequeues int
	Delay       time.Duration
	MaxDelay    time.Duration
}

// batchSize is of listeners with batches.
const batchSize = 50

// listening is an application that listens until it is told to stop.
type listening struct {
	*application
	listener *messaging.NotificationListener
	broken   atomic.Bool

	mu   sync.Mutex // guards held
	held map[string]entry
}

func (a *application) listen(ctx context.Context) error {
	l := &listening{application: a, held: make(map[string]entry)}
	ep := messaging.NewNotificationEndpoint(nil)
	if a.Listens.Batches {
		ep.HandleBatch(messaging.PriorityInfo, l.handleBatch)
	} else {
		ep.Handle(messaging.PriorityInfo, l.handle)
	}
	from := a.Listens.Topic
	if from == "" {
		from = topic
	}
	l.listener = messaging.NewNotificationListener(a.Transport, []messaging.Target{{Topic: from}}, l.options(), ep)
	stop, err := a.Begin(ctx, l.listener)
	if err != nil {
		return err
	}
	return a.Orders.Obey(map[string]testbed.Command{
		"stop": testbed.Say(func() (string, error) {
			err := stop()
			return l.stats(), errors.Join(err, a.Close())
		}),
	})
}

func (l *listening) options() *messaging.NotificationListenerOptions {
	s := l.Listens
	opts := &messaging.NotificationListenerOptions{
		Pool: s.Pool, Concurrency: s.Concurrency, DedupeSize: s.Window, DedupeAge: time.Hour,
		Batch:   &messaging.BatchOptions{Size: batchSize, Timeout: 100 * time.Millisecond},
		Failure: messaging.FailurePolicy{Delay: s.Delay, MaxDelay: s.MaxDelay},
	}
	if s.Ordered {
		opts.OrderBy = func(n *messaging.Notification) string { return n.PublisherID }
	}
	if s.Failing {
		opts.Failure.RequeueErrors, opts.Failure.MaxRequeues, opts.Failure.DeadLetterTopic = true, s.MaxRequeues, deadTopic
	}
	return opts
}

// stats is what the listener counted, as JSON would be.
func (l *listening) stats() string { return fmt.Sprintf("%+v", l.listener.Stats()) }

var (
	errFails = errors.New("this handler fails always")
	errWhim  = fmt.Errorf("not the first time: %w", messaging.ErrRequeue)
)

// handle notes a notification before anything else.
func (l *listening) handle(_ context.Context, n *messaging.Notification) error {
	var payload numbered
	if err := n.Decode(&payload); err != nil {
		return err
	}
	e := entry{kind: entryHandled, at: now(), number: number{n.PublisherID, payload.N}, text: headersOf(n)}
	l.note(e)
	s := l.Listens
	switch {
	case s.Failing:
		e.kind, e.at = entryRequeued, now()
		l.entries.write(e)
		return errFails
	case s.Requeues > 0 && payload.N%s.Requeues == 0 && n.Attempt == 1:
		e.kind, e.at = entryRequeued, now()
		l.entries.write(e)
		return errWhim
	}
	return nil
}

// handleBatch handles each of a batch.
func (l *listening) handleBatch(ctx context.Context, batch []*messaging.Notification) error {
	failed := make(messaging.FailedNotifications)
	for i, n := range batch {
		if err := l.handle(ctx, n); err != nil {
			failed[i] = err
		}
	}
	if len(failed) > 0 {
		return failed
	}
	return nil
}

// note writes an entry, unless a promise is to be broken.
func (l *listening) note(e entry) {
	switch {
	case l.Sabotage == "" || e.n < unspoilt:
	case l.Sabotage == sabotageSwap:
		if !l.swap(e) {
			return
		}
	case l.broken.CompareAndSwap(false, true) && !l.spoil(e):
		return
	}
	l.entries.write(e)
}

// unspoilt is the first number that a listener breaks a promise on: a notifier does on its first.
const unspoilt = 3

// spoil breaks a promise, and reports whether the entry is still to be written.
func (l *listening) spoil(e entry) bool {
	switch l.Sabotage {
	case sabotageTwice:
		l.entries.write(e)
	case sabotageStray:
		stray := e
		stray.n = -1
		l.entries.write(stray)
	}
	return l.Sabotage != sabotageLose
}

// swap keeps the first of a publisher back until the next one was written; it reports whether the
// entry is still to be written.
func (l *listening) swap(e entry) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	first, held := l.held[e.publisher]
	if !held {
		if !l.broken.CompareAndSwap(false, true) {
			return true
		}
		l.held[e.publisher] = e
		return false
	}
	delete(l.held, e.publisher)
	l.entries.write(e)
	l.entries.write(first)
	return false
}

// headersOf are those of a dead letter.
func headersOf(n *messaging.Notification) string {
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(n.Headers)) {
		_, _ = fmt.Fprintf(&text, "%s=%q ", name, n.Headers[name])
	}
	return text.String()
}

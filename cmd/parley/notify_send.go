// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"sync"

	"github.com/parleymq/parley/messaging"
)

// sentNotification is the result of notify for programs.
type sentNotification struct {
	MessageID string   `json:"message_id"`
	Error     *failure `json:"error,omitempty"`
}

// withHeaders is an outlet that adds headers to what goes to the next one.
func withHeaders(next messaging.Outlet, headers map[string]string) messaging.Outlet {
	if len(headers) == 0 {
		return next
	}
	return messaging.OutletFunc(func(ctx context.Context, n *messaging.Notification) error {
		c := *n
		c.Headers = headers
		return next.Notify(ctx, &c)
	})
}

// notifyOnce sends one notification.
func (a *app) notifyOnce(ctx context.Context, s *session, p *preparedNotification) error {
	var id string
	opts := p.opts
	next := withHeaders(opts.Outlets[0], p.headers)
	opts.Outlets = []messaging.Outlet{messaging.OutletFunc(func(ctx context.Context, n *messaging.Notification) error {
		id = n.MessageID
		return next.Notify(ctx, n)
	})}
	if err := messaging.NewNotifier(s.Transport, &opts).Notify(ctx, p.priority, p.eventType, p.payload); err != nil {
		return err
	}
	if a.json() {
		return printJSON(a.stdout, sentNotification{MessageID: id})
	}
	return nil
}

// notifyLines sends a notification for each line of standard input, many at once and in order.
func (a *app) notifyLines(ctx context.Context, s *session, p *preparedNotification) error {
	reading, stop := context.WithCancel(ctx)
	defer stop()
	opts := p.opts
	r := &notifyResults{a: a, each: len(opts.Topics), open: make(map[string]*notifyResult), stop: stop, changed: make(chan struct{}, 1)}
	if len(p.headers) > 0 {
		r.each = 1 // the outlet that adds them has one result for all topics
	}
	opts.Outlets = []messaging.Outlet{withHeaders(opts.Outlets[0], p.headers)}
	opts.OnResult = r.note
	notifier := messaging.NewNotifier(s.Transport, &opts)
	sent, last := 0, 0
	err := sendLines(reading, readPayloads(reading, a.stdin), func(l payloadLine) {
		notifier.NotifyAndForget(ctx, p.priority, p.eventType, l.payload)
		sent, last = sent+1, l.number
	})
	// Each ends in its own time; this only bounds a fault.
	waiting, cancel := context.WithTimeout(ctx, 2*opts.Timeout)
	defer cancel()
	r.wait(waiting, sent)
	switch {
	case r.failed() != nil:
		return fmt.Errorf("of the notifications up to line %d %d were accepted, the first failure: %w", last, r.accepted(), r.failed())
	case err != nil:
		return err
	default:
		return waiting.Err()
	}
}

// sendLines sends until there are no more lines or ctx ends.
func sendLines(ctx context.Context, lines <-chan payloadLine, send func(payloadLine)) error {
	for {
		select {
		case l, more := <-lines:
			if !more || l.err != nil {
				return l.err
			}
			send(l)
		case <-ctx.Done():
			return nil
		}
	}
}

// notifyResults is told what became of notifications, from any goroutine.
type notifyResults struct {
	a       *app
	each    int    // results of a notification
	stop    func() // ends the reading of lines
	changed chan struct{}

	mu    sync.Mutex // guards the rest
	open  map[string]*notifyResult
	told  int // results
	done  int // notifications that were accepted
	first error
}

// notifyResult is that of a notification that was not told of often enough.
type notifyResult struct {
	told int
	err  error
}

// note notes what became of a notification on one topic.
func (r *notifyResults) note(n *messaging.Notification, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.wake()
	r.told++
	if err != nil {
		r.fail(err)
	}
	one := r.open[n.MessageID]
	if one == nil {
		one = &notifyResult{}
		r.open[n.MessageID] = one
	}
	one.told++
	one.err = cmp.Or(one.err, err)
	if one.told == r.each {
		delete(r.open, n.MessageID)
		r.print(n.MessageID, one.err)
	}
}

func (r *notifyResults) wake() {
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// wait waits for the results of so many notifications, or the first failure.
func (r *notifyResults) wait(ctx context.Context, sent int) {
	for !r.complete(sent) {
		select {
		case <-r.changed:
		case <-ctx.Done():
			return
		}
	}
}

func (r *notifyResults) complete(sent int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.first != nil || r.told >= sent*r.each
}

// print prints the result of a notification. That it cannot be printed ends the command.
func (r *notifyResults) print(id string, err error) {
	result := sentNotification{MessageID: id}
	if err == nil {
		r.done++
	} else {
		f := describe(err, false)
		result.Error = &f
	}
	if !r.a.json() {
		return
	}
	if err := printJSON(r.a.stdout, result); err != nil {
		r.fail(fmt.Errorf("write the message id: %w", err))
	}
}

// fail keeps the first failure and ends the sending.
func (r *notifyResults) fail(err error) {
	if r.first == nil {
		r.first = err
	}
	r.stop()
}

func (r *notifyResults) failed() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.first
}

func (r *notifyResults) accepted() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.done
}

// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"context"

	"github.com/parleymq/parley/plugin/driver"
)

// Trouble returns the session, what keeps messages from being sent now, nil when nothing does, and
// a channel that is closed when one of them changes.
func (l *Link[S]) Trouble() (S, *driver.Error, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var none S
	switch {
	case l.current != none:
		return l.current, l.blocked, l.changed
	case l.cause != nil:
		return none, l.cause, l.changed
	default:
		return none, notYet(), l.changed
	}
}

// Failing is Trouble for those that wait only for the first try (SEND-10): nil while its outcome is
// open.
func (l *Link[S]) Failing() (*driver.Error, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var none S
	if l.current != none {
		return l.blocked, l.changed
	}
	return l.cause, l.changed
}

// Miss notes that a message could not wait for the connection, which is as urgent as one that
// waits.
func (l *Link[S]) Miss() {
	l.mu.Lock()
	first := !l.missed
	l.missed = true
	l.mu.Unlock()
	if first {
		l.hurry()
	}
}

// Await returns the session, waiting for one until ctx ends. It gives up early when the cause is
// permanent, unless it is told to be patient, and when the link is stopped.
func (l *Link[S]) Await(ctx context.Context, patient bool) (S, *driver.Error) {
	l.enter()
	defer l.leave()
	var none S
	for {
		l.mu.Lock()
		s, cause, changed := l.current, l.cause, l.changed
		l.mu.Unlock()
		if s != none {
			return s, nil
		}
		if cause != nil && (cause.Reason == driver.ReasonClosed || !patient && Permanent(cause)) {
			return none, cause
		}
		select {
		case <-changed:
		case <-ctx.Done():
			if cause == nil {
				cause = notYet()
			}
			return none, cause
		}
	}
}

func (l *Link[S]) enter() {
	l.mu.Lock()
	l.waiting++
	first := l.waiting == 1
	l.mu.Unlock()
	if first {
		l.hurry()
	}
}

func (l *Link[S]) leave() {
	l.mu.Lock()
	l.waiting--
	l.mu.Unlock()
}

func (l *Link[S]) hurry() {
	select {
	case l.urgent <- struct{}{}:
	default: // it is being looked at
	}
}

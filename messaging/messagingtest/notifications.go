// SPDX-License-Identifier: Apache-2.0

package messagingtest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/parleymq/parley/messaging"
)

// Recorder is an outlet that keeps notifications in memory; it is upstream's notify driver "test".
// Unlike [Broker] it sees them before they are sent, and needs no transport that works:
//
//	var seen messagingtest.Recorder
//	app := NewApp(messaging.NewNotifier(transport, &messaging.NotifierOptions{Outlets: []messaging.Outlet{&seen}}))
//	app.Create(t.Context())
//	n := seen.Expect(t, messagingtest.Event{Type: "instance.create.end"})
//
// The zero value is ready, and it may be used by any number of goroutines.
type Recorder struct {
	mu       sync.Mutex // guards the rest
	seen     []recorded
	more     chan struct{} // closed and replaced when there are more; nil until somebody waits
	failures []error
}

// recorded is a notification and whether an Expect has returned it.
type recorded struct {
	*messaging.Notification
	expected bool
}

var _ messaging.Outlet = (*Recorder)(nil)

// Event describes notifications; a zero field fits any.
type Event struct {
	Type        string
	Priority    messaging.Priority
	PublisherID string
}

func (e Event) fits(n *messaging.Notification) bool {
	return (e.Type == "" || e.Type == n.EventType) &&
		(e.Priority == "" || e.Priority == n.Priority) &&
		(e.PublisherID == "" || e.PublisherID == n.PublisherID)
}

// String lists the fields that are set.
func (e Event) String() string {
	var parts []string
	for _, f := range [...]struct{ name, value string }{
		{"type", e.Type}, {"priority", string(e.Priority)}, {"publisher id", e.PublisherID},
	} {
		if f.value != "" {
			parts = append(parts, fmt.Sprintf("%s %q", f.name, f.value))
		}
	}
	if parts == nil {
		return "any notification"
	}
	return "notification with " + strings.Join(parts, ", ")
}

// Notify implements [messaging.Outlet]. It keeps a copy.
func (r *Recorder) Notify(_ context.Context, n *messaging.Notification) error {
	kept := *n
	kept.Payload, kept.Context, kept.Headers = slices.Clone(n.Payload), maps.Clone(n.Context), maps.Clone(n.Headers)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.failures) > 0 {
		err := r.failures[0]
		r.failures = r.failures[1:]
		return err
	}
	r.seen = append(r.seen, recorded{Notification: &kept})
	if r.more != nil {
		close(r.more)
		r.more = nil
	}
	return nil
}

// Fail makes the next notification fail with err; it is not kept.
func (r *Recorder) Fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, err)
}

// Notifications returns those that fit, in the order in which they came.
func (r *Recorder) Notifications(e Event) []*messaging.Notification {
	r.mu.Lock()
	defer r.mu.Unlock()
	var fit []*messaging.Notification
	for _, n := range r.seen {
		if e.fits(n.Notification) {
			fit = append(fit, n.Notification)
		}
	}
	return fit
}

// Expect returns the first notification that fits and that no Expect has returned before. It waits
// for it, and fails the test when none comes in ten seconds.
func (r *Recorder) Expect(t T, e Event) *messaging.Notification {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		n, more := r.next(e)
		if n != nil {
			return n
		}
		select {
		case <-more:
		case <-timer.C:
			t.Fatalf("no %s came in %v; there were %s", e, patience, r.list())
			return nil
		}
	}
}

// ExpectNone fails the test when a notification that fits came, and was returned by no Expect. It
// cannot know what comes later: first wait for what comes last.
func (r *Recorder) ExpectNone(t T, e Event) {
	t.Helper()
	if n, _ := r.next(e); n != nil {
		t.Errorf("unexpected: %s %s with %s", n.Priority, n.EventType, n.Payload)
	}
}

// Reset forgets all.
func (r *Recorder) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen, r.failures = nil, nil
}

// next returns a notification that fits, or the channel that is closed when there are more.
func (r *Recorder) next(e Event) (*messaging.Notification, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.seen, func(n recorded) bool { return !n.expected && e.fits(n.Notification) })
	if i >= 0 {
		r.seen[i].expected = true
		return r.seen[i].Notification, nil
	}
	if r.more == nil {
		r.more = make(chan struct{})
	}
	return nil, r.more
}

// list is what came, for an error.
func (r *Recorder) list() string {
	seen := r.Notifications(Event{})
	if len(seen) == 0 {
		return "none"
	}
	names := make([]string, len(seen))
	for i, n := range seen {
		names[i] = string(n.Priority) + " " + n.EventType
	}
	return strings.Join(names, ", ")
}

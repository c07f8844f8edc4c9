// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleymq/parley/internal/memory"
	"github.com/parleymq/parley/plugin/driver"
)

// fates keeps what OnResult is told.
type fates struct {
	mu   sync.Mutex // guards told
	told []string
}

func (r *fates) tell(n *Notification, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = append(r.told, fmt.Sprintf("%s %s", n.EventType, CodeOf(err)))
}

func (r *fates) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.told)
}

// queued is a conn with a goroutine for its sends, as the host's is: what is sent waits until let
// says its fate.
type queued struct {
	driver.Conn
	begun, most atomic.Int64
	let         func(*driver.Message) error
	work        chan func()
	closed      chan struct{}
}

func newQueued(t testing.TB, let func(*driver.Message) error) *queued {
	q := &queued{Conn: openMemory(t, memory.New()), let: let, work: make(chan func(), 1<<16), closed: make(chan struct{})}
	go func() {
		defer close(q.closed)
		for f := range q.work {
			f()
		}
	}()
	return q
}

func (q *queued) SendAsync(_ context.Context, batch []*driver.Message, done func(int, error)) {
	for i, m := range batch {
		q.most.Store(max(q.most.Load(), q.begun.Add(1)))
		q.work <- func() {
			err := q.let(m)
			q.begun.Add(-1)
			done(i, err)
		}
	}
}

func (q *queued) Send(ctx context.Context, batch []*driver.Message) error {
	errs := make([]error, len(batch))
	var open sync.WaitGroup
	open.Add(len(batch))
	q.SendAsync(ctx, batch, func(i int, err error) { errs[i] = err; open.Done() })
	open.Wait()
	if len(failures(errs)) == 0 {
		return nil
	}
	return &driver.BatchError{Errs: errs}
}

func (q *queued) Close(ctx context.Context) error {
	close(q.work)
	<-q.closed
	return q.Conn.Close(ctx)
}

func TestForgottenAreSentInOrder(t *testing.T) {
	const count = 2000
	for name, make := range map[string]func(testing.TB, func(*driver.Message) error) driver.Conn{
		"asynchronous": func(t testing.TB, let func(*driver.Message) error) driver.Conn { return newQueued(t, let) },
		"synchronous": func(t testing.TB, let func(*driver.Message) error) driver.Conn {
			d := memory.New()
			f := &faults{Conn: openMemory(t, d), info: d.Describe()}
			f.onSend = func(_ context.Context, m *driver.Message) (bool, error) { return true, let(m) }
			return f
		},
	} {
		t.Run(name, func(t *testing.T) {
			var sent []string // one goroutine at a time
			tr := NewTransport(make(t, func(m *driver.Message) error { sent = append(sent, eventOf(m)); return nil }), nil)
			seen := &fates{}
			n := NewNotifier(tr, &NotifierOptions{MaxPending: 64, OnResult: seen.tell})
			var want []string
			for i := range count {
				want = append(want, strconv.Itoa(i))
				n.NotifyAndForget(t.Context(), PriorityInfo, strconv.Itoa(i), nil)
			}
			closeTransport(t, tr) // which waits for all
			if !slices.Equal(sent, want) {
				t.Errorf("%d were sent, not in order", len(sent))
			}
			if told := seen.all(); len(told) != count {
				t.Errorf("%d results", len(told))
			}
			if st := tr.Stats(); st.Notifications != count || st.NotificationsFailed != 0 {
				t.Errorf("%+v", st)
			}
		})
	}
}

func eventOf(m *driver.Message) string {
	n, _ := parseNotification(&driver.Delivery{Message: *m})
	return n.EventType
}

func TestMaxPending(t *testing.T) {
	gate := make(chan struct{})
	q := newQueued(t, func(*driver.Message) error { <-gate; return nil })
	tr := NewTransport(q, nil)
	seen := &fates{}
	n := NewNotifier(tr, &NotifierOptions{MaxPending: 3, OnResult: seen.tell})
	for range 3 {
		n.NotifyAndForget(t.Context(), PriorityInfo, "first", nil)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	n.With(PublisherID("other")).NotifyAndForget(ctx, PriorityInfo, "cancelled", nil) // has no room, and shares it
	n.With(NotifyTimeout(time.Millisecond)).NotifyAndForget(t.Context(), PriorityInfo, "late", nil)
	waited := make(chan struct{})
	go func() {
		n.NotifyAndForget(t.Context(), PriorityInfo, "patient", nil)
		close(waited)
	}()
	close(gate)
	wait(t, waited, "room")
	closeTransport(t, tr)
	told := seen.all()
	slices.Sort(told)
	if want := []string{"cancelled ", "first ", "first ", "first ", "late expired", "patient "}; !slices.Equal(told, want) {
		t.Errorf("told %q", told)
	}
	if q.most.Load() > 3 {
		t.Errorf("%d were under way", q.most.Load())
	}
}

func TestForgottenAreToldOnceForEachTopicAndOutlet(t *testing.T) {
	r, tap := tapped(t)
	tap.set(func(m driver.Message) error {
		if m.Target.Topic == "b" {
			return driver.Errorf(driver.ReasonMessageTooLarge, "too large")
		}
		return nil
	})
	var told []string
	n := NewNotifier(r.Transport, &NotifierOptions{
		Topics: []string{"a", "b"}, Outlets: []Outlet{BrokerOutlet(0), NoopOutlet(), OutletFunc(func(context.Context, *Notification) error { panic("oh") })},
		OnResult: func(_ *Notification, err error) { told = append(told, string(CodeOf(err))) },
	})
	n.NotifyAndForget(t.Context(), PriorityInfo, "e", nil)
	n.NotifyAndForget(t.Context(), "none", "e", nil)
	if want := []string{"", "too_large", "", "panic", "config"}; !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
}

func TestForgottenAfterClose(t *testing.T) {
	r, _ := tapped(t)
	closeTransport(t, r.Transport)
	seen := &fates{}
	n := NewNotifier(r.Transport, &NotifierOptions{OnResult: seen.tell})
	n.NotifyAndForget(t.Context(), PriorityInfo, "e", nil)
	if told := seen.all(); !slices.Equal(told, []string{"e closed"}) {
		t.Errorf("told %q", told)
	}
	if err := n.Info(t.Context(), "e", nil); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
}

// TestCloseWhileTheyArePending: what is under way when the transport's time to close is over fails,
// and is told.
func TestCloseWhileTheyArePending(t *testing.T) {
	r := newRig(t, nil, func(f *faults) {
		f.onSend = func(ctx context.Context, _ *driver.Message) (bool, error) {
			<-ctx.Done()
			return true, driver.Errorf(driver.ReasonNotConnected, "the broker is away: %w", ctx.Err())
		}
	})
	told := make(chan error, 1)
	n := NewNotifier(r.Transport, &NotifierOptions{Timeout: 50 * time.Millisecond, OnResult: func(_ *Notification, err error) { told <- err }})
	go n.NotifyAndForget(t.Context(), PriorityInfo, "e", nil)
	eventually(t, "it is under way", func() bool { return r.Stats().Notifications == 1 })
	closeTransport(t, r.Transport)
	if err := wait(t, told, "the result"); !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
}

// TestNotificationRetries: N is N tries again, in doubt ones too and with the same ids, whichever way
// it is sent.
func TestNotificationRetries(t *testing.T) {
	away := driver.Errorf(driver.ReasonNotConnected, "the broker is away")
	doubt := driver.Errorf(driver.ReasonNotConnected, "the connection broke")
	doubt.InDoubt = true
	refused := driver.Errorf(driver.ReasonAccessRefused, "not allowed")
	for _, tc := range []struct {
		name  string
		err   error
		retry int
		tries int
		want  error
	}{
		{"away, never", away, 0, 1, ErrUnavailable},
		{"away, once", away, 1, 2, ErrUnavailable},
		{"away, 3 times", away, 3, 4, ErrUnavailable},
		{"away, the driver waits", away, -1, 1, ErrUnavailable},
		{"in doubt, never", doubt, 0, 1, ErrInDoubt},
		{"in doubt, twice", doubt, 2, 3, ErrInDoubt},
		{"refused", refused, 5, 1, ErrRefused},
	} {
		for _, forget := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, forget %v", tc.name, forget), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r, tap := tapped(t)
					tap.set(func(driver.Message) error { return tc.err })
					told := make(chan error, 1)
					n := NewNotifier(r.Transport, &NotifierOptions{Retry: &tc.retry, OnResult: func(_ *Notification, err error) { told <- err }})
					if forget {
						n.NotifyAndForget(t.Context(), PriorityInfo, "e", nil)
					} else {
						told <- n.Info(t.Context(), "e", nil)
					}
					if err := <-told; !errors.Is(err, tc.want) {
						t.Errorf("got %v", err)
					}
					sent := tap.take()
					for _, m := range sent {
						if m.UniqueID != sent[0].UniqueID || string(m.Body) != string(sent[0].Body) {
							t.Errorf("ids changed: %s %s", m.UniqueID, m.Body)
						}
					}
					if len(sent) != tc.tries {
						t.Errorf("%d tries, want %d", len(sent), tc.tries)
					}
				})
			})
		}
	}
}

// TestInDoubtUntilTime: without a number one in doubt is sent again as long as there is time, and
// stays in doubt.
func TestInDoubtUntilTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, tap := tapped(t)
		var tries atomic.Int64
		tap.set(func(driver.Message) error {
			err := driver.Errorf(driver.ReasonNotConnected, "the connection broke")
			err.InDoubt = tries.Add(1) == 1
			return err
		})
		retry := 2
		err := NewNotifier(r.Transport, &NotifierOptions{Retry: &retry}).Info(t.Context(), "e", nil)
		if !errors.Is(err, ErrInDoubt) || tries.Load() != 4 || r.Stats().InDoubt != 1 {
			t.Errorf("got %v after %d tries, %+v", err, tries.Load(), r.Stats())
		}
		tap.set(func(driver.Message) error {
			if tries.Add(1) < 10 {
				err := driver.Errorf(driver.ReasonNotConnected, "the connection broke")
				err.InDoubt = true
				return err
			}
			return nil
		})
		if err := NewNotifier(r.Transport, nil).Info(t.Context(), "e", nil); err != nil || tries.Load() < 10 {
			t.Errorf("got %v after %d tries", err, tries.Load())
		}
		if r.Stats().Retries < 8 {
			t.Errorf("%+v", r.Stats())
		}
	})
}

// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parleymq/parley/plugin/driver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait for what must happen.
const patience = 30 * time.Second

var (
	refused = driver.Errorf(driver.ReasonNotConnected, "refused")
	barred  = driver.Errorf(driver.ReasonAuthRefused, "barred")
	cut     = driver.Errorf(driver.ReasonNotConnected, "cut")
	full    = driver.Errorf(driver.ReasonBrokerBlocked, "full")
)

// life is a Session whose events a test makes.
type life struct {
	host    string
	lost    chan *driver.Error
	blocks  chan *driver.Error
	ended   chan struct{}
	closeBy chan time.Time
}

func (s *life) Peer() string { return s.host }

func (s *life) Watch(ctx context.Context, blocked func(*driver.Error)) *driver.Error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case why := <-s.lost:
			return why
		case why := <-s.blocks:
			blocked(why)
		}
	}
}

func (s *life) End()                 { close(s.ended) }
func (s *life) Close(by time.Time)   { s.closeBy <- by }
func (s *life) wasClosed() time.Time { return <-s.closeBy }

// bench is a Link whose dials a test answers.
type bench struct {
	*testing.T
	*Link[*life]
	states *States
	lives  chan *life

	mu      sync.Mutex
	answers []*driver.Error // of the next dials; the last one stays; guarded by mu
	dials   int             // guarded by mu
	hosts   []string        // that were dialled; guarded by mu
	seen    []string        // phases; guarded by mu
}

type ring struct{ next int }

func (r *ring) Len() int { return 2 }

func (r *ring) Next() driver.Host {
	r.next++
	return driver.Host{Name: []string{"a", "b"}[r.next%2]}
}

func start(t *testing.T, wait time.Duration, answers ...*driver.Error) *bench {
	t.Helper()
	b := &bench{T: t, lives: make(chan *life, 100), answers: answers}
	b.states = NewStates(func(s driver.State) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.seen = append(b.seen, s.Phase.String())
	})
	b.Link = New(Options[*life]{
		Name: "one", States: b.states, Log: slog.New(slog.DiscardHandler), Hosts: &ring{},
		Dial: b.dial, Backoff: func(int) time.Duration { return wait },
	})
	b.Start()
	t.Cleanup(func() { b.Stop(context.Background()) })
	return b
}

func (b *bench) dial(_ context.Context, h driver.Host) (*life, *driver.Error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dials++
	b.hosts = append(b.hosts, h.Name)
	err := b.answers[0]
	if len(b.answers) > 1 {
		b.answers = b.answers[1:]
	}
	if err != nil {
		return nil, err
	}
	s := &life{
		host: h.Name, lost: make(chan *driver.Error), blocks: make(chan *driver.Error),
		ended: make(chan struct{}), closeBy: make(chan time.Time, 2),
	}
	b.lives <- s
	return s, nil
}

func (b *bench) phases() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.seen)
}

func (b *bench) tried() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.dials
}

func (b *bench) within() context.Context {
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	b.Cleanup(cancel)
	return ctx
}

func (b *bench) mustConnect() *life {
	b.Helper()
	s, cause := b.Await(b.within(), true)
	if s == nil {
		b.Fatalf("not connected: %v", cause)
	}
	return s
}

// until waits for a change of the link after which ok.
func (b *bench) until(what string, ok func() bool) {
	b.Helper()
	ctx := b.within()
	for {
		_, _, changed := b.Trouble()
		if ok() {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			b.Fatalf("%s: not in time", what)
		}
	}
}

// TestLife: connected, blocked, not blocked, lost, connected again, stopped.
func TestLife(t *testing.T) {
	b := start(t, time.Millisecond, nil)
	first := b.mustConnect()
	first.blocks <- full
	b.until("blocked", func() bool { _, why, _ := b.Trouble(); return why == full })
	if why, _ := b.Failing(); why != full {
		t.Errorf("Failing says %v", why)
	}
	if s, _ := b.Await(b.within(), false); s != first {
		t.Error("a blocked session is none")
	}
	first.blocks <- nil
	b.until("not blocked", func() bool { _, why, _ := b.Trouble(); return why == nil })
	first.lost <- cut
	<-first.ended
	if s, _, _ := b.Trouble(); s == first {
		t.Error("the session is given to somebody after its end")
	}
	first.wasClosed()
	second := b.mustConnect()
	if second == first || second.host == first.host {
		t.Errorf("connected to %s after %s", second.host, first.host)
	}
	by := time.Now().Add(time.Hour)
	ctx, cancel := context.WithDeadline(t.Context(), by)
	defer cancel()
	b.Stop(ctx)
	if got := second.wasClosed(); !got.Equal(by) {
		t.Errorf("closed by %v, want %v", got, by)
	}
	if _, cause := b.Await(b.within(), true); cause == nil || cause.Reason != driver.ReasonClosed {
		t.Errorf("after the end: %v", cause)
	}
	want := []string{"connecting", "ready", "blocked", "ready", "connecting", "ready"}
	if got := b.phases(); !slices.Equal(got, want) {
		t.Errorf("reported %v, want %v", got, want)
	}
}

// TestCause: of the causes of a pass the one that waiting heals is told, and only one that it
// does not heal ends a wait early.
func TestCause(t *testing.T) {
	for _, tt := range []struct {
		name    string
		answers []*driver.Error
		patient bool
		atOnce  bool
		want    *driver.Error
	}{
		{"all are barred", []*driver.Error{barred}, false, true, barred},
		{"all are barred, and it is patient", []*driver.Error{barred}, true, false, barred},
		{"one is refused, then one barred", []*driver.Error{refused, barred, refused}, false, false, refused},
		{"one is barred, then one refused", []*driver.Error{barred, refused, barred, refused}, false, false, refused},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := start(t, time.Hour, tt.answers...)
			b.until("a first pass", func() bool { why, _ := b.Failing(); return why != nil })
			limit := 50 * time.Millisecond
			if tt.atOnce {
				limit = patience
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			_, cause := b.Await(ctx, tt.patient)
			if cause != tt.want || tt.atOnce == (ctx.Err() != nil) {
				t.Errorf("got %v, ctx %v", cause, ctx.Err())
			}
		})
	}
}

// TestUrgency: who waits, or would not wait, shortens a wait of an hour.
func TestUrgency(t *testing.T) {
	for name, hurry := range map[string]func(*bench){
		"a wait": func(b *bench) { b.mustConnect() },
		"a miss": func(b *bench) { b.Miss() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, time.Hour, refused, refused, nil)
			b.until("a first pass", func() bool { why, _ := b.Failing(); return why != nil })
			hurry(b)
			b.until("connected", func() bool { s, _, _ := b.Trouble(); return s != nil })
		})
	}
}

// TestNothingIsKnownYet: before the first try is over nothing has failed.
func TestNothingIsKnownYet(t *testing.T) {
	b := &bench{T: t}
	b.Link = New(Options[*life]{Name: "one"})
	if why, _ := b.Failing(); why != nil {
		t.Errorf("Failing says %v", why)
	}
	if s, why, _ := b.Trouble(); s != nil || why == nil || why.Reason != driver.ReasonNotConnected {
		t.Errorf("Trouble says %v, %v", s, why)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, cause := b.Await(ctx, true); cause == nil || cause.Reason != driver.ReasonNotConnected {
		t.Errorf("Await says %v", cause)
	}
}

// TestStopWhileItTries: neither a wait between passes nor a dial outlives Stop, and a session that
// came too late is closed.
func TestStopWhileItTries(t *testing.T) {
	b := start(t, time.Hour, refused)
	b.until("a first pass", func() bool { return b.tried() >= 2 })
	b.Stop(t.Context())

	dialling := make(chan struct{})
	late := &life{host: "late", ended: make(chan struct{}), closeBy: make(chan time.Time, 1)}
	l := New(Options[*life]{
		Name: "one", States: NewStates(func(driver.State) {}), Log: slog.New(slog.DiscardHandler), Hosts: &ring{},
		Dial: func(ctx context.Context, _ driver.Host) (*life, *driver.Error) {
			close(dialling)
			<-ctx.Done()
			return late, nil
		},
	})
	l.Start()
	<-dialling
	l.Stop(t.Context())
	late.wasClosed()
}

// TestStall: a part that takes nothing makes the state Blocked, and no trouble.
func TestStall(t *testing.T) {
	b := start(t, time.Millisecond, nil)
	s := b.mustConnect()
	b.Stall(s, "x", full)
	b.Stall(s, "w", full)
	b.Stall(s, "x", nil)
	b.Stall(&life{}, "y", full) // of another life
	if _, why, _ := b.Trouble(); why != nil {
		t.Errorf("it is trouble: %v", why)
	}
	b.Stall(s, "w", nil)
	b.Stall(s, "x", full)
	s.lost <- cut
	b.until("connected again", func() bool { again, _, _ := b.Trouble(); return again != nil && again != s })
	want := []string{"connecting", "ready", "blocked", "ready", "blocked", "connecting", "ready"}
	if got := b.phases(); !slices.Equal(got, want) {
		t.Errorf("reported %v, want %v", got, want)
	}
}

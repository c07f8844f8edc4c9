// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// spoolRig is a notifier with a spool, and a broker that the test switches.
type spoolRig struct {
	*rig
	tap   *wiretap
	spool *Spool
	n     *Notifier
}

func newSpoolRig(t testing.TB, dir string, opts SpoolOptions, fate func(driver.Message) error) *spoolRig {
	t.Helper()
	r, tap := tapped(t)
	tap.set(fate)
	opts.Dir = dir
	s, err := OpenSpool(r.Transport, &opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeSpool(t, s) })
	return &spoolRig{rig: r, tap: tap, spool: s, n: NewNotifier(r.Transport, &NotifierOptions{Spool: s, Timeout: patience})}
}

func closeSpool(t testing.TB, s *Spool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Errorf("close the spool: %v", err)
	}
}

func (r *spoolRig) notify(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := r.n.Info(t.Context(), name, map[string]any{"a": 1}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
}

// empty waits until all is sent.
func (r *spoolRig) empty(t testing.TB) {
	t.Helper()
	eventually(t, "the spool is empty", func() bool { return r.spool.Stats().Waiting == 0 })
}

// ready tells the transport that the broker is back.
func (r *spoolRig) ready() { r.states.report(driver.State{Phase: driver.Ready}) }

func away(driver.Message) error {
	return driver.Errorf(driver.ReasonNotConnected, "the broker is away")
}

func doubtful(driver.Message) error {
	err := driver.Errorf(driver.ReasonNotConnected, "the connection broke")
	err.InDoubt = true
	return err
}

func events(sent []driver.Message) []string {
	var names []string
	for _, m := range sent {
		names = append(names, eventOf(&m))
	}
	return names
}

func numbered(from, to int) []string {
	var names []string
	for i := from; i < to; i++ {
		names = append(names, strconv.Itoa(i))
	}
	return names
}

// TestSpoolKeepsOrderAndIDs: what the broker does not take is stored, what comes behind it too, and
// all arrives in the order and with the ids it had.
func TestSpoolKeepsOrderAndIDs(t *testing.T) {
	for name, fate := range map[string]func(driver.Message) error{
		"away": away, "in doubt": doubtful,
		"blocked": func(driver.Message) error { return driver.Errorf(driver.ReasonBrokerBlocked, "blocked") },
		"driver":  func(driver.Message) error { return driver.Errorf(driver.ReasonDriverGone, "ended") },
		"odd":     func(driver.Message) error { return driver.Errorf(driver.ReasonInternal, "odd") },
	} {
		t.Run(name, func(t *testing.T) {
			r := newSpoolRig(t, t.TempDir(), SpoolOptions{}, fate)
			ctx := WithRequestContext(t.Context(), RequestContext{"request_id": "r", "auth_token": "PLANTED"})
			if err := r.n.Info(ctx, "0", nil); err != nil {
				t.Fatal(err)
			}
			first := r.tap.take()[0]
			r.notify(t, numbered(1, 300)...)
			r.tap.take()
			r.tap.set(nil)
			r.ready()
			r.empty(t)
			sent := r.tap.take()
			if got := events(sent); !slices.Equal(got, numbered(0, 300)) {
				t.Fatalf("sent %q", got)
			}
			again := sent[0]
			if again.UniqueID != first.UniqueID || string(again.Body) != string(first.Body) || string(again.Context) != `{"request_id": "r"}` ||
				again.Target != first.Target || again.Format != first.Format || again.Priority != "info" || !again.FailFast || again.Kind != driver.Notification {
				t.Errorf("sent %+v, want %+v", again, first)
			}
			st := r.spool.Stats()
			if st.Stored != 300 || st.Sent != 300 || st.Refused+st.Full+st.Aged+st.Damaged+st.Lost != 0 || r.Stats().NotificationsSpooled != 300 || r.Stats().NotificationsFailed != 0 {
				t.Errorf("%+v, %+v", st, r.Stats())
			}
			// And then nothing is stored any more.
			eventually(t, "they are sent directly", func() bool { r.notify(t, "direct"); return r.spool.Stats().Stored == st.Stored })
		})
	}
}

func TestSpoolReplaysByItself(t *testing.T) {
	r := newSpoolRig(t, t.TempDir(), SpoolOptions{}, away)
	r.notify(t, "a", "b")
	tries := 0
	eventually(t, "it is tried again", func() bool { tries += len(r.tap.take()); return tries > 3 })
	r.tap.set(nil) // and nobody says that the broker is back
	r.empty(t)
}

// TestSpoolRefusesWhatNeverGoes: what would fail again is an error, and nothing is stored.
func TestSpoolRefusesWhatNeverGoes(t *testing.T) {
	for reason, want := range map[driver.Reason]error{
		driver.ReasonMessageTooLarge: ErrTooLarge, driver.ReasonAccessRefused: ErrRefused, driver.ReasonPrecondition: ErrRefused,
		driver.ReasonAuthRefused: ErrUnavailable, driver.ReasonTLSFailed: ErrUnavailable, driver.ReasonVirtualHostMissing: ErrUnavailable,
		driver.ReasonConfig: ErrConfig, driver.ReasonUnsupported: ErrUnsupported, driver.ReasonDriverBug: ErrInternal, driver.ReasonClosed: ErrClosed,
	} {
		t.Run(string(reason), func(t *testing.T) {
			r := newSpoolRig(t, t.TempDir(), SpoolOptions{}, func(driver.Message) error { return driver.Errorf(reason, "refused") })
			if err := r.n.Info(t.Context(), "e", nil); !errors.Is(err, want) {
				t.Errorf("got %v", err)
			}
			if st := r.spool.Stats(); st.Stored != 0 || st.Waiting != 0 || r.Stats().NotificationsFailed != 1 {
				t.Errorf("%+v", st)
			}
		})
	}
}

// TestSpoolSetsAside: one in the middle that the broker refuses does not keep the others, and can be
// sent later.
func TestSpoolSetsAside(t *testing.T) {
	dir := t.TempDir()
	var refused []string
	r := newSpoolRig(t, dir, SpoolOptions{OnRefused: func(n *Notification, err error) {
		refused = append(refused, fmt.Sprintf("%s %s", n.EventType, CodeOf(err)))
	}}, away)
	r.notify(t, "a", "b", "c")
	tooLarge := func(m driver.Message) error {
		if eventOf(&m) == "b" {
			return driver.Errorf(driver.ReasonMessageTooLarge, "too large")
		}
		return nil
	}
	r.tap.take()
	r.tap.set(tooLarge)
	r.ready()
	r.empty(t)
	if got := events(r.tap.take()); !slices.Equal(got[len(got)-3:], []string{"a", "b", "c"}) {
		t.Errorf("sent %q", got)
	}
	st := r.spool.Stats()
	if st.Refused != 1 || st.Aside != 1 || st.Sent != 2 || !slices.Equal(refused, []string{"b too_large"}) {
		t.Errorf("%+v, told %q", st, refused)
	}
	if logs := strings.Join(r.log.all(), ""); !strings.Contains(logs, "level=ERROR") || !strings.Contains(logs, "set aside") {
		t.Errorf("logged %s", logs)
	}
	r.tap.set(nil)
	if n, err := r.spool.RetryRefused(t.Context()); n != 1 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	eventually(t, "it is sent", func() bool { return r.spool.Stats().Sent == 3 })
	if st := r.spool.Stats(); st.Aside != 0 {
		t.Errorf("%+v", st)
	}
}

// TestSpoolWaitsForTheConnection: what is about the connection sets nothing aside, and what may be
// the notification's own fault only after some tries.
func TestSpoolWaitsForTheConnection(t *testing.T) {
	for reason, aside := range map[driver.Reason]bool{
		driver.ReasonAuthRefused: false, driver.ReasonTLSFailed: false, driver.ReasonVirtualHostMissing: false, driver.ReasonConfig: false,
		driver.ReasonAccessRefused: true, driver.ReasonInternal: true, driver.ReasonDriverBug: true,
	} {
		t.Run(string(reason), func(t *testing.T) {
			r := newSpoolRig(t, t.TempDir(), SpoolOptions{}, away)
			r.notify(t, "a", "b")
			var tries atomic.Int64
			r.tap.set(func(m driver.Message) error {
				if eventOf(&m) != "a" {
					return nil
				}
				tries.Add(1)
				return driver.Errorf(reason, "refused")
			})
			for range 12 { // each sends again, at once
				before := tries.Load()
				r.ready()
				eventually(t, "it is tried", func() bool { return tries.Load() > before || r.spool.Stats().Waiting == 0 })
			}
			st := r.spool.Stats()
			if aside && (st.Aside != 1 || st.Waiting != 0 || tries.Load() != oddTries) || !aside && (st.Aside != 0 || st.Waiting != 2) {
				t.Errorf("%+v after %d tries", st, tries.Load())
			}
		})
	}
}

func TestSpoolFull(t *testing.T) {
	r := newSpoolRig(t, t.TempDir(), SpoolOptions{MaxBytes: 64 << 10}, away)
	payload := strings.Repeat("x", 1000)
	var err error
	stored := 0
	for ; err == nil && stored < 1000; stored++ {
		err = r.n.Info(t.Context(), "e", payload)
	}
	stored--
	t.Logf("after %d: %v", stored, err)
	if !errors.Is(err, ErrSpoolFull) || CodeOf(err) != CodeSpoolFull || !strings.Contains(err.Error(), "raise SpoolOptions.MaxBytes") || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v", err)
	}
	if err := r.n.Info(t.Context(), "e", strings.Repeat("x", 20_000)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v", err)
	}
	if st := r.spool.Stats(); st.Full != 1 || st.Waiting != stored || r.Stats().NotificationsFailed != 2 {
		t.Errorf("%+v", st)
	}
	r.tap.set(nil)
	r.ready()
	r.empty(t)
	r.notify(t, "room again")
	if st := r.spool.Stats(); int(st.Sent) != stored {
		t.Errorf("%+v, %d were stored", st, stored)
	}
}

// TestSpoolFullInDoubt: that it may have arrived can still be asked for.
func TestSpoolFullInDoubt(t *testing.T) {
	r := newSpoolRig(t, t.TempDir(), SpoolOptions{MaxBytes: 64 << 10}, doubtful)
	err := r.n.Info(t.Context(), "e", strings.Repeat("x", 20_000))
	if !errors.Is(err, ErrTooLarge) || !errors.Is(err, ErrInDoubt) || !strings.Contains(err.Error(), "the connection broke") {
		t.Errorf("got %v", err)
	}
}

func TestSpoolAge(t *testing.T) {
	r := newSpoolRig(t, t.TempDir(), SpoolOptions{MaxAge: 200 * time.Millisecond}, away)
	r.notify(t, "a", "b")
	eventually(t, "they are dropped", func() bool { st := r.spool.Stats(); return st.Aged == 2 && st.Waiting == 0 })
	if logs := strings.Join(r.log.all(), ""); !strings.Contains(logs, "got too old and are dropped") {
		t.Errorf("logged %s", logs)
	}
	r.tap.set(nil)
	eventually(t, "they are sent directly", func() bool {
		before := r.spool.Stats().Stored
		r.notify(t, "c")
		return r.spool.Stats().Stored == before
	})
}

func TestSpoolOptionsAreChecked(t *testing.T) {
	r, _ := tapped(t)
	open := t.TempDir()
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	used := t.TempDir()
	s, err := OpenSpool(r.Transport, &SpoolOptions{Dir: used})
	if err != nil {
		t.Fatal(err)
	}
	defer closeSpool(t, s)
	for text, o := range map[string]*SpoolOptions{
		"no directory": nil, "at least 65536": {Dir: t.TempDir(), MaxBytes: 1}, "negative": {Dir: t.TempDir(), MaxAge: -1},
		`sync "often"`: {Dir: t.TempDir(), Sync: "often"}, "others may write": {Dir: open}, "used by another process": {Dir: used},
	} {
		if _, err := OpenSpool(r.Transport, o); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: got %v", text, err)
		}
	}
	info, err := os.Stat(filepath.Join(used, asideDir))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v %v", info, err)
	}
}

// TestSpoolSurvivesClose: what is stored is there for the next one, and goes before what is new.
func TestSpoolSurvivesClose(t *testing.T) {
	for _, mode := range []SpoolSync{SpoolSyncNone, SpoolSyncBatch, SpoolSyncEach} {
		t.Run(string(mode), func(t *testing.T) {
			dir := t.TempDir()
			r := newSpoolRig(t, dir, SpoolOptions{Sync: mode}, away)
			r.notify(t, numbered(0, 50)...)
			closeSpool(t, r.spool)
			closeSpool(t, r.spool)
			if err := r.n.Info(t.Context(), "e", nil); !errors.Is(err, ErrClosed) {
				t.Errorf("got %v", err)
			}
			if _, err := r.spool.RetryRefused(t.Context()); err != nil && !errors.Is(err, ErrClosed) {
				t.Errorf("got %v", err)
			}
			next := newSpoolRig(t, dir, SpoolOptions{Sync: mode}, nil)
			next.notify(t, "new")
			next.empty(t)
			if got := events(next.tap.take()); !slices.Equal(got, append(numbered(0, 50), "new")) {
				t.Errorf("sent %q", got)
			}
		})
	}
}

// TestSpoolSalvagesTheRest: a damaged notification is counted, and all others arrive.
func TestSpoolSalvagesTheRest(t *testing.T) {
	dir := t.TempDir()
	r := newSpoolRig(t, dir, SpoolOptions{}, away)
	r.notify(t, numbered(0, 20)...)
	closeSpool(t, r.spool)
	files, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	data, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	at := strings.Index(string(data), `"event_type":"7"`)
	data[at+3] ^= 0x40
	if err := os.WriteFile(files[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	next := newSpoolRig(t, dir, SpoolOptions{}, nil)
	next.empty(t)
	if got, want := events(next.tap.take()), slices.Concat(numbered(0, 7), numbered(8, 20)); !slices.Equal(got, want) {
		t.Errorf("sent %q", got)
	}
	if st := next.spool.Stats(); st.Damaged != 1 || !strings.Contains(strings.Join(next.log.all(), ""), "cannot be read and are lost") {
		t.Errorf("%+v", st)
	}
}

// TestSpoolLetsGo: under a load that never ends, the disk is left when the broker takes all.
func TestSpoolLetsGo(t *testing.T) {
	q := newQueued(t, func(*driver.Message) error { return nil })
	var up atomic.Bool
	q.let = func(m *driver.Message) error {
		if !up.Load() {
			return away(*m)
		}
		return nil
	}
	tr := NewTransport(q, nil)
	defer closeTransport(t, tr)
	s, err := OpenSpool(tr, &SpoolOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer closeSpool(t, s)
	n := NewNotifier(tr, &NotifierOptions{Spool: s, Timeout: patience})
	stop := make(chan struct{})
	var work sync.WaitGroup
	for range 16 {
		work.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := n.Info(context.Background(), "e", nil); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	eventually(t, "some are stored", func() bool { return s.Stats().Waiting > 500 })
	up.Store(true)
	tr.states.report(driver.State{Phase: driver.Ready})
	eventually(t, "none are stored any more", func() bool {
		before := s.Stats().Stored
		total := tr.Stats().Notifications
		eventually(t, "there is load", func() bool { return tr.Stats().Notifications > total+1000 })
		return s.Stats().Stored == before && s.Stats().Waiting == 0
	})
	close(stop)
	work.Wait()
}

// TestSpoolCancelled: what the application gave up before it was sent is not sent behind its back.
func TestSpoolCancelled(t *testing.T) {
	r := newRig(t, nil, func(f *faults) {
		f.onSend = func(ctx context.Context, _ *driver.Message) (bool, error) {
			<-ctx.Done()
			return true, driver.Errorf(driver.ReasonOf(ctx.Err()), "not sent: %w", ctx.Err())
		}
	})
	s, err := OpenSpool(r.Transport, &SpoolOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer closeSpool(t, s)
	n := NewNotifier(r.Transport, &NotifierOptions{Spool: s})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	if err := n.Info(ctx, "e", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if st := s.Stats(); st.Stored != 0 {
		t.Errorf("%+v", st)
	}
	if err := n.With(NotifyTimeout(10*time.Millisecond)).Info(t.Context(), "e", nil); err != nil { // slow is not given up
		t.Error(err)
	}
	if st := s.Stats(); st.Stored != 1 {
		t.Errorf("%+v", st)
	}
	closing, cancel := context.WithTimeout(t.Context(), time.Millisecond) // the replay waits for its broker
	defer cancel()
	if err := s.Close(closing); err != nil {
		t.Error(err)
	}
}

// TestSpoolLanes: without a broker, who listens to one topic does not wait for who listens to another.
func TestSpoolLanes(t *testing.T) {
	w := &wiretap{}
	w.set(func(m driver.Message) error {
		if m.Target.Topic == "nobody" {
			return driver.Errorf(driver.ReasonNoRoute, "nobody listens")
		}
		return nil
	})
	r := newRig(t, nil, w.hook, func(f *faults) { f.info.Capabilities = append(slices.Clone(f.info.Capabilities), driver.CapDirect) })
	s, err := OpenSpool(r.Transport, &SpoolOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer closeSpool(t, s)
	n := NewNotifier(r.Transport, &NotifierOptions{Spool: s, Topics: []string{"nobody", "somebody"}})
	for range 3 {
		if err := n.Info(t.Context(), "e", nil); err != nil {
			t.Fatal(err)
		}
	}
	if st := s.Stats(); st.Stored != 3 || st.Waiting != 3 {
		t.Errorf("%+v", st)
	}
	w.set(nil)
	eventually(t, "somebody listens", func() bool { return s.Stats().Sent == 3 })
}

func FuzzDecodeSpooled(f *testing.F) {
	f.Add(encodeSpooled(&driver.Message{UniqueID: "u", Target: driver.Target{Exchange: "e", Topic: "t"}, Priority: "info", Format: 2,
		Context: []byte("{}"), Body: []byte("{}"), Headers: map[string]string{"a": "b", "c": ""}}))
	f.Add([]byte{spooledVersion})
	f.Add([]byte{spooledVersion, 1, 'x', 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := decodeSpooled(data)
		if err != nil {
			return
		}
		again, err := decodeSpooled(encodeSpooled(m))
		if err != nil || again.UniqueID != m.UniqueID || string(again.Body) != string(m.Body) || len(again.Headers) != len(m.Headers) {
			t.Errorf("%+v comes back as %+v, %v", m, again, err)
		}
	})
}

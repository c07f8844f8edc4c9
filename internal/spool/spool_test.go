// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parleymq/parley/plugin/driver"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childVariable); dir != "" {
		os.Exit(child(dir))
	}
	goleak.VerifyTestMain(m)
}

// logBuffer keeps what is logged.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

func open(t testing.TB, o Options) *Spool {
	t.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shut(t, s) })
	return s
}

func shut(t testing.TB, s *Spool) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func put(t testing.TB, s *Spool, key string, data ...string) {
	t.Helper()
	for _, d := range data {
		if err := s.Put(t.Context(), key, []byte(d)); err != nil {
			t.Fatal(err)
		}
	}
}

func take(t testing.TB, s *Spool, key string, max int) []Entry {
	t.Helper()
	entries, err := s.Take(key, max)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func done(t testing.TB, s *Spool, entries []Entry) {
	t.Helper()
	if err := s.Done(ids(entries)...); err != nil {
		t.Fatal(err)
	}
}

func ids(entries []Entry) (ids []uint64) {
	for _, e := range entries {
		ids = append(ids, e.ID)
	}
	return ids
}

func want(t testing.TB, entries []Entry, data ...string) {
	t.Helper()
	var got []string
	for _, e := range entries {
		got = append(got, string(e.Data))
	}
	if !slices.Equal(got, data) {
		t.Fatalf("got %.200q, want %.200q", got, data)
	}
}

func wantReason(t testing.TB, err error, reason driver.Reason) {
	t.Helper()
	_ = failure(t, err, reason)
}

// failure asserts the reason of a failure and returns it.
func failure(t testing.TB, err error, reason driver.Reason) *driver.Error {
	t.Helper()
	e, ok := errors.AsType[*driver.Error](err)
	if !ok || e.Reason != reason {
		t.Fatalf("got %v, want %s", err, reason)
	}
	return e
}

func TestTakeDoneBack(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir()})
	put(t, s, "a", "1", "2", "3", "4")
	put(t, s, "b", "x")
	if got := s.Keys(); !slices.Equal(got, []string{"a", "b"}) || s.Len("a") != 4 || s.Len("none") != 0 {
		t.Fatal(got, s.Len("a"))
	}
	first := take(t, s, "a", 2)
	want(t, first, "1", "2")
	if first[0].Key != "a" || time.Since(first[0].At) > time.Minute {
		t.Errorf("%+v", first[0])
	}
	second := take(t, s, "a", 9)
	want(t, second, "3", "4")
	want(t, take(t, s, "a", 9))
	if got := s.Keys(); !slices.Equal(got, []string{"b"}) {
		t.Errorf("keys %v, want those that have some waiting", got)
	}
	s.Back(second[0].ID, first[1].ID, 999)
	s.Back(first[1].ID) // a second time
	put(t, s, "a", "5")
	again := take(t, s, "a", 9)
	want(t, again, "2", "3", "5")
	done(t, s, slices.Concat(again, again, first, second))
	if st := s.Stats(); st.Waiting != 1 || st.Taken != 0 || st.Put != 6 || st.Settled != 5 || st.Segments != 1 || st.Bytes == 0 {
		t.Errorf("%+v", st)
	}
}

func TestReopen(t *testing.T) {
	for _, sync := range []string{SyncNone, SyncBatch, SyncEach} {
		t.Run(sync, func(t *testing.T) {
			o := Options{Dir: filepath.Join(t.TempDir(), "new", "spool"), Sync: sync}
			s := open(t, o)
			put(t, s, "a", "1", "2", "3")
			done(t, s, take(t, s, "a", 1))
			taken := take(t, s, "a", 1)
			shut(t, s)
			shut(t, s)
			wantReason(t, s.Put(t.Context(), "a", nil), driver.ReasonClosed)
			_, err := s.Take("a", 1)
			wantReason(t, err, driver.ReasonClosed)
			wantReason(t, s.Done(1), driver.ReasonClosed)

			s = open(t, o)
			put(t, s, "a", "4")
			again := take(t, s, "a", 9)
			want(t, again, "2", "3", "4")
			if again[0].ID != taken[0].ID {
				t.Error("an id changed")
			}
			done(t, s, again)
			shut(t, s)
			s = open(t, o)
			if len(s.Keys()) != 0 {
				t.Error(s.Keys())
			}
		})
	}
}

func TestFilesAreForTheOwnerAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s := open(t, Options{Dir: dir})
	put(t, s, "a", "1", "2")
	done(t, s, take(t, s, "a", 1))
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %o", path, info.Mode().Perm())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	for name, o := range map[string]Options{
		"no directory":  {},
		"a small size":  {Dir: dir, MaxBytes: 100},
		"a negative":    {Dir: dir, MaxAge: -1},
		"another sync":  {Dir: dir, Sync: "sometimes"},
		"a file for it": {Dir: os.Args[0]},
	} {
		if _, err := Open(o); err == nil {
			t.Errorf("%s: opened", name)
		} else {
			wantReason(t, err, driver.ReasonConfig)
		}
	}
	first := open(t, Options{Dir: dir})
	_, err := Open(Options{Dir: dir})
	wantReason(t, err, driver.ReasonConfig)
	put(t, first, "a", "1")
	wide := t.TempDir()
	if err := os.Chmod(wide, 0o777); err != nil {
		t.Fatal(err)
	}
	_, err = Open(Options{Dir: wide})
	wantReason(t, err, driver.ReasonConfig)
}

func TestFullIsSaid(t *testing.T) {
	o := Options{Dir: t.TempDir(), MaxBytes: 128 << 10}
	s := open(t, o)
	wantReason(t, s.Put(t.Context(), "a", make([]byte, 40<<10)), driver.ReasonMessageTooLarge)
	wantReason(t, s.Put(t.Context(), strings.Repeat("k", maxKey+1), nil), driver.ReasonMessageTooLarge)
	n := 0
	var err error
	for ; err == nil; n++ {
		err = s.Put(t.Context(), "a", make([]byte, 1000))
	}
	if e := failure(t, err, driver.ReasonBrokerBlocked); !e.Retryable || e.Hint == "" {
		t.Errorf("%+v", e)
	}
	if n < 120 || s.Stats().Bytes > o.MaxBytes {
		t.Errorf("%d entries, %d bytes", n, s.Stats().Bytes)
	}
	done(t, s, take(t, s, "a", 40))
	for range 30 {
		put(t, s, "a", strings.Repeat("x", 1000))
	}
	for s.Len("a") > 0 {
		done(t, s, take(t, s, "a", 10))
	}
	for range 120 { // the last segment, all of which is settled, makes room too
		put(t, s, "a", strings.Repeat("x", 1000))
	}

	few := open(t, Options{Dir: t.TempDir(), MaxEntries: 3})
	put(t, few, "a", "1", "2", "3")
	wantReason(t, few.Put(t.Context(), "a", nil), driver.ReasonBrokerBlocked)
	done(t, few, take(t, few, "a", 1))
	put(t, few, "a", "4")
}

// TestAFewDoNotHoldTheSpaceOfMany: entries that nobody takes, spread over all segments, are moved
// together; they keep their order, also those that are with somebody, and survive a restart.
func TestAFewDoNotHoldTheSpaceOfMany(t *testing.T) {
	o := Options{Dir: t.TempDir(), MaxBytes: 256 << 10}
	s := open(t, o)
	var kept []string
	for i := range 3000 {
		if i%50 == 0 {
			kept = append(kept, fmt.Sprint("kept ", i))
			put(t, s, "kept", kept[len(kept)-1])
		}
		put(t, s, "busy", strings.Repeat("b", 1000))
		done(t, s, take(t, s, "busy", 1))
	}
	held := take(t, s, "kept", 5)
	for range 1000 {
		put(t, s, "busy", strings.Repeat("b", 1000))
		done(t, s, take(t, s, "busy", 1))
	}
	want(t, held, kept[:5]...)
	if st := s.Stats(); st.Bytes > o.MaxBytes || st.Failed > 0 {
		t.Errorf("%+v", st)
	}
	done(t, s, held[:2])
	s.Back(ids(held[2:])...)
	rest := take(t, s, "kept", 1000)
	want(t, rest, kept[2:]...)
	shut(t, s)
	s = open(t, o)
	want(t, take(t, s, "kept", 1000), kept[2:]...)
}

func TestTooOld(t *testing.T) {
	var logs logBuffer
	o := Options{Dir: t.TempDir(), MaxAge: time.Hour, Logger: slog.New(slog.NewTextHandler(&logs, nil))}
	s := open(t, o)
	now := time.Now()
	s.now = func() time.Time { return now }
	put(t, s, "a", "1", "2", "3")
	held := take(t, s, "a", 1)
	now = now.Add(61 * time.Minute)
	put(t, s, "a", "4")
	want(t, take(t, s, "a", 9), "4")
	s.Back(held[0].ID)
	now = now.Add(2 * time.Second)
	if s.Len("a") != 0 || len(s.Keys()) != 0 {
		t.Error("one that was given back is not too old")
	}
	if st := s.Stats(); st.Aged != 3 || logs.count("too old") != 1 {
		t.Errorf("%+v, logged %d times", st, logs.count("too old"))
	}
}

func TestSegmentsAreDeleted(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir, MaxBytes: 1 << 20})
	for range 500 {
		put(t, s, "a", strings.Repeat("x", 1000))
	}
	if s.Stats().Segments < 4 {
		t.Fatalf("%+v: the test proves nothing", s.Stats())
	}
	for s.Len("a") > 0 {
		done(t, s, take(t, s, "a", 7))
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) > 3 { // the lock, the last segment and its journal
		t.Errorf("%v, %v", files, err)
	}
}

func TestTakeIsBounded(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir()})
	for range 5 {
		put(t, s, "a", strings.Repeat("x", 5<<20))
	}
	if got := len(take(t, s, "a", 9)); got != 3 {
		t.Errorf("%d entries of 5 MiB at once", got)
	}
}

// lastSegment is the file that was written to last.
func lastSegment(t testing.TB, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	return files[len(files)-1]
}

// TestDamage: what is after a torn or damaged frame, in segment and journal.
func TestDamage(t *testing.T) {
	frame := int64(len(record{key: "a", data: []byte("1")}.encode()))
	end := int64(len(segmentMagic)) + 3*frame
	for name, tc := range map[string]struct {
		harm func(f *os.File) error
		want []string
		log  string
	}{
		"a torn end":         {func(f *os.File) error { return f.Truncate(end - 3) }, []string{"1", "2"}, "cut off"},
		"a torn head":        {func(f *os.File) error { return f.Truncate(end - frame + 5) }, []string{"1", "2"}, "cut off"},
		"no magic":           {func(f *os.File) error { return f.Truncate(3) }, nil, "cut off"},
		"an empty file":      {func(f *os.File) error { return f.Truncate(0) }, nil, ""},
		"zeros at the end":   {func(f *os.File) error { return f.Truncate(end + 4096) }, []string{"1", "2", "3"}, "cut off"},
		"a damaged entry":    {func(f *os.File) error { return flip(f, end-frame-1) }, []string{"1", "3"}, "are lost"},
		"a damaged length":   {func(f *os.File) error { return flip(f, end-2*frame+1) }, []string{"1"}, "cut off"},
		"a damaged last one": {func(f *os.File) error { return flip(f, end-1) }, []string{"1", "2"}, "cut off"},
	} {
		t.Run(name, func(t *testing.T) {
			var logs logBuffer
			o := Options{Dir: t.TempDir(), Logger: slog.New(slog.NewTextHandler(&logs, nil))}
			s := open(t, o)
			put(t, s, "a", "1", "2", "3")
			shut(t, s)
			f, err := os.OpenFile(lastSegment(t, o.Dir), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(tc.harm(f), f.Close()); err != nil {
				t.Fatal(err)
			}
			for range 2 { // repaired once, and it stays so
				s = open(t, o)
				put(t, s, "a", "new")
				tc.want = append(tc.want, "new")
				want(t, take(t, s, "a", 9), tc.want...)
				shut(t, s)
			}
			if tc.log != "" && logs.count(tc.log) == 0 || logs.count("cut off") > 1 {
				t.Errorf("logged: %s", logs.b.String())
			}
		})
	}
}

func flip(f *os.File, off int64) error {
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, off); err != nil {
		return err
	}
	b[0] ^= 0x10
	_, err := f.WriteAt(b, off)
	return err
}

func TestDamageWhileOpen(t *testing.T) {
	o := Options{Dir: t.TempDir()}
	s := open(t, o)
	put(t, s, "a", "1", "2", "3")
	f, err := os.OpenFile(lastSegment(t, o.Dir), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if err := flip(f, s.segments[0].size/2); err != nil {
		t.Fatal(err)
	}
	want(t, take(t, s, "a", 9), "1", "3")
	if s.Stats().Damaged != 1 {
		t.Errorf("%+v", s.Stats())
	}
}

func TestTornJournal(t *testing.T) {
	o := Options{Dir: t.TempDir()}
	s := open(t, o)
	put(t, s, "a", "1", "2", "3", "4")
	done(t, s, take(t, s, "a", 2))
	shut(t, s)
	journal := strings.TrimSuffix(lastSegment(t, o.Dir), segmentSuffix) + journalSuffix
	if err := os.Truncate(journal, 17); err != nil {
		t.Fatal(err)
	}
	orphan := segmentPath(o.Dir, 77)
	orphan = strings.TrimSuffix(orphan, segmentSuffix) + journalSuffix
	if err := os.WriteFile(orphan, appendSettled(nil, 3), 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, o)
	entries := take(t, s, "a", 9)
	want(t, entries, "2", "3", "4") // at least once
	done(t, s, entries)
	shut(t, s)
	s = open(t, o)
	if len(s.Keys()) != 0 {
		t.Error("what was settled after a torn journal is back")
	}
	if _, err := os.Stat(orphan); !errors.Is(err, os.ErrNotExist) {
		t.Error("a journal without a segment is left")
	}
}

// TestDiskFails closes the file under the spool, as a disk would fail that refuses all.
func TestDiskFails(t *testing.T) {
	o := Options{Dir: t.TempDir(), Sync: SyncEach}
	s := open(t, o)
	put(t, s, "a", "1")
	seg := s.segments[0]
	_ = seg.file.Close()
	wantReason(t, s.Put(t.Context(), "a", []byte("2")), driver.ReasonInternal)
	put(t, s, "a", "3") // into the next file
	_, err := s.Take("a", 9)
	wantReason(t, err, driver.ReasonInternal)
	if st := s.Stats(); st.Failed != 2 || st.Waiting != 2 {
		t.Errorf("%+v", st)
	}
	shut(t, s)
	s = open(t, o)
	want(t, take(t, s, "a", 9), "1", "3")

	// A sync that fails leaves the sender in doubt.
	s.segments[len(s.segments)-1].unsynced.Store(false)
	ticket := s.disk.wrote(seg) // whose file is closed
	if err := s.disk.wait(t.Context(), ticket); err == nil || !seg.unsynced.Load() {
		t.Error("a failed sync is not said")
	}
}

func TestPutHearsTheContext(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir(), Sync: SyncEach})
	ctx, cancel := context.WithCancel(t.Context())
	s.disk.turn <- struct{}{} // somebody syncs and does not end
	result := make(chan error)
	go func() { result <- s.Put(ctx, "a", []byte("1")) }()
	for s.Len("a") == 0 {
		if t.Context().Err() != nil {
			t.Fatal("the test ended")
		}
	}
	cancel()
	if e := failure(t, <-result, driver.ReasonCancelled); !e.InDoubt {
		t.Errorf("%+v", e)
	}
	<-s.disk.turn
	if err := s.Put(ctx, "a", nil); !errors.Is(err, context.Canceled) || s.Len("a") != 1 {
		t.Error(err)
	}
}

// TestManyAtOnce: writers and takers, some of whom give back; each entry is settled once.
func TestManyAtOnce(t *testing.T) {
	for _, sync := range []string{SyncBatch, SyncEach} {
		t.Run(sync, func(t *testing.T) { manyAtOnce(t, sync) })
	}
}

func manyAtOnce(t *testing.T, mode string) {
	const writers, each = 8, 100
	s := open(t, Options{Dir: t.TempDir(), MaxBytes: 512 << 10, Sync: mode})
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range each {
				put(t, s, fmt.Sprint("k", i%3), fmt.Sprintf("%d-%d-%s", w, i, strings.Repeat("x", 300)))
			}
		})
	}
	var mu sync.Mutex
	seen := map[string]int{}
	for range 4 {
		all.Go(func() {
			for {
				mu.Lock()
				n := len(seen)
				mu.Unlock()
				if n == writers*each || t.Context().Err() != nil {
					return
				}
				entries := take(t, s, fmt.Sprint("k", rand.IntN(3)), 5)
				if rand.IntN(4) == 0 {
					s.Back(ids(entries)...)
					continue
				}
				mu.Lock()
				for _, e := range entries {
					seen[string(e.Data)]++
				}
				mu.Unlock()
				done(t, s, entries)
			}
		})
	}
	all.Wait()
	for data, n := range seen {
		if n != 1 {
			t.Errorf("%.10s was taken %d times", data, n)
		}
	}
}

// FuzzScan: no bytes of a segment may panic or take memory that the file does not have, and
// opening a spool with them repairs it.
func FuzzScan(f *testing.F) {
	good := []byte(segmentMagic)
	for i := range 3 {
		good = append(good, record{id: uint64(i + 1), at: 1e12, key: "k", data: bytes.Repeat([]byte{'d'}, 9)}.encode()...)
	}
	f.Add(good, []byte{})
	f.Add(good[:len(good)-4], appendSettled(nil, 2))
	f.Add(append(slices.Clone(good), make([]byte, 99)...), appendSettled(appendSettled(nil, 2), 3)[:20])
	f.Fuzz(func(t *testing.T, segment, journal []byte) {
		dir := t.TempDir()
		path := segmentPath(dir, 1)
		if err := os.WriteFile(path, segment, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(strings.TrimSuffix(path, segmentSuffix)+journalSuffix, journal, 0o600); err != nil {
			t.Fatal(err)
		}
		o := Options{Dir: dir, Sync: SyncNone, Logger: slog.New(slog.DiscardHandler)}
		o.MaxAge = 1<<63 - 1
		var first []Entry
		for i := range 2 {
			s := open(t, o)
			var all []Entry
			for _, key := range s.Keys() {
				all = append(all, take(t, s, key, 1<<20)...)
			}
			if i == 0 {
				first = all
			} else if !slices.EqualFunc(first, all, func(a, b Entry) bool { return a.ID == b.ID && bytes.Equal(a.Data, b.Data) }) {
				t.Error("a second opening finds something else")
			}
			shut(t, s)
		}
	})
}

func BenchmarkPut(b *testing.B) {
	data := bytes.Repeat([]byte("d"), 500)
	for _, mode := range []string{SyncNone, SyncBatch, SyncEach} {
		for _, writers := range []int{1, 16} {
			b.Run(fmt.Sprintf("%s/%d", mode, writers), func(b *testing.B) {
				s := open(b, Options{Dir: b.TempDir(), Sync: mode, MaxBytes: 4 << 30, MaxEntries: 1 << 24})
				b.SetParallelism(writers) // times GOMAXPROCS, which is why it is said
				if writers == 1 {
					for b.Loop() {
						put(b, s, "k", string(data))
					}
				} else {
					b.RunParallel(func(pb *testing.PB) {
						for pb.Next() {
							put(b, s, "k", string(data))
						}
					})
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
			})
		}
	}
}

// TestCrashWhileCompacting: the old segment is still there, beside the one that its entries were
// moved to, wholly or in part.
func TestCrashWhileCompacting(t *testing.T) {
	for _, whole := range []bool{true, false} {
		t.Run(fmt.Sprint("whole=", whole), func(t *testing.T) {
			o := Options{Dir: t.TempDir()}
			s := open(t, o)
			put(t, s, "a", "1", "2", "3", "4")
			done(t, s, take(t, s, "a", 1))
			shut(t, s)
			old, err := os.ReadFile(lastSegment(t, o.Dir))
			if err != nil {
				t.Fatal(err)
			}
			frame := (len(old) - len(segmentMagic)) / 4
			moved := append([]byte(segmentMagic), old[len(segmentMagic)+frame:]...)
			if !whole {
				moved = moved[:len(moved)-3]
			}
			if err := os.WriteFile(segmentPath(o.Dir, 9), moved, 0o600); err != nil {
				t.Fatal(err)
			}
			s = open(t, o)
			if got := s.Stats().Segments; got != 1 {
				t.Errorf("%d segments", got)
			}
			all := take(t, s, "a", 9)
			want(t, all, "2", "3", "4")
			done(t, s, all[:2])
			shut(t, s)
			s = open(t, o)
			want(t, take(t, s, "a", 9), "4")
		})
	}
}

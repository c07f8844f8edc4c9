// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

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

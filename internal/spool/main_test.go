// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

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

// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

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

func TestTakeIsBounded(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir()})
	for range 5 {
		put(t, s, "a", strings.Repeat("x", 5<<20))
	}
	if got := len(take(t, s, "a", 9)); got != 3 {
		t.Errorf("%d entries of 5 MiB at once", got)
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

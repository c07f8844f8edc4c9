// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parleymq/parley/plugin/driver"
)

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

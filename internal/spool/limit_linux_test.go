// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"os"
	"os/signal"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/parleymq/parley/plugin/driver"
)

// TestDiskIsFull uses a small file system of its own where that may be mounted.
func TestDiskIsFull(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k,mode=0700"); err != nil {
		t.Logf("NOT PROVEN: what a full disk does: nothing can be mounted here: %v", err)
		return
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	s := open(t, Options{Dir: dir})
	survives(t, s, Options{Dir: dir})
}

// TestFileIsTooLong is the same with a limit of this process: a write that is cut short.
func TestFileIsTooLong(t *testing.T) {
	signal.Ignore(unix.SIGXFSZ)
	defer signal.Reset(unix.SIGXFSZ)
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	o := Options{Dir: t.TempDir()}
	s := open(t, o)
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 100_001, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
			t.Error(err)
		}
	}()
	survives(t, s, o)
}

// survives fills the disk, and asserts that what was acknowledged is there, that settling works
// although nothing can be written, and that Put works again when there is room.
func survives(t *testing.T, s *Spool, o Options) {
	t.Helper()
	var err error
	n := 0
	for ; err == nil && n < 1000; n++ {
		err = s.Put(t.Context(), "k", []byte(strings.Repeat("x", 1000)))
	}
	e := failure(t, err, driver.ReasonBrokerBlocked)
	if !e.Retryable || e.InDoubt || e.Hint == "" {
		t.Errorf("%+v", e)
	}
	n--
	t.Logf("after %d entries: %v", n, err)
	if info, err := os.Stat(s.segments[0].path); err != nil || info.Size() != s.segments[0].size {
		t.Errorf("half an entry is left: %v, %v", info, err)
	}
	if err := s.Put(t.Context(), "k", []byte(strings.Repeat("x", 1000))); err == nil {
		t.Error("a second one fits")
	}
	entries := take(t, s, "k", 1000)
	if len(entries) != n {
		t.Errorf("%d of %d are there", len(entries), n)
	}
	if err := s.Done(ids(entries)...); err != nil {
		wantReason(t, err, driver.ReasonBrokerBlocked)
		t.Logf("Done: %v", err)
	}
	put(t, s, "k", strings.Repeat("y", 1000)) // in place of what is settled
	shut(t, s)
	s = open(t, o)
	want(t, take(t, s, "k", 1000), strings.Repeat("y", 1000))
}

// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/testkit"
)

// shortTTL makes what takes a TTL quick.
const shortTTL = 1200 * time.Millisecond

func dirOptions(path string) Options { return Options{Path: path, HasPath: true} }

func shortDir(path string) Options {
	o := dirOptions(path)
	o.TTL = shortTTL
	return o
}

func fileOf(dir string, n int) string { return filepath.Join(dir, nodeID(n)+recordSuffix) }

// plant writes a record as another process's, with a file time that much later than now.
func plant(t testing.TB, dir string, rec *Record, p process, later time.Duration) string {
	t.Helper()
	text, err := encodeRecordFile(rec, p)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, rec.Node+recordSuffix)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	setTime(t, file, time.Now().Add(later))
	return file
}

func setTime(t testing.TB, file string, at time.Time) {
	t.Helper()
	if err := os.Chtimes(file, at, at); err != nil {
		t.Fatal(err)
	}
}

func exists(file string) bool {
	_, err := os.Lstat(file)
	return err == nil
}

func TestDirFindsChangesAndLosses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "by", "open")
	a, b := open(t, dirOptions(dir)), open(t, dirOptions(dir))
	publish(t, a, version(1, 1))
	publish(t, b, version(2, 1))
	refresh(t, a)
	if !has(2)(a.View()) {
		t.Fatalf("the view has %v", a.View().Records)
	}
	waitView(t, b, "the hint of a change arrives", has(1))
	info, err := os.Stat(fileOf(dir, 1))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v", info, err)
	}

	publish(t, a, version(1, 2))
	waitView(t, b, "a new version arrives", func(v *View) bool { return v.Records[nodeID(1)].Version == 2 })
	publish(t, a, version(1, 1)) // overtaken by 2
	refresh(t, b)
	if v := b.View().Records[nodeID(1)].Version; v != 2 {
		t.Errorf("version 2 was replaced by %d", v)
	}

	shut(t, a)
	waitView(t, b, "a closed node goes", has())
	if exists(fileOf(dir, 1)) {
		t.Error("the file of a closed node is left")
	}
	testkit.FailsWith(t, a.Publish(soon(t), *version(1, 3)), driver.ReasonClosed)
	testkit.FailsWith(t, a.Refresh(soon(t)), driver.ReasonClosed)
	shut(t, a)
	if err := b.Health(); err != nil {
		t.Error(err)
	}
	testkit.FailsWith(t, b.Publish(soon(t), Record{Node: "x"}), driver.ReasonConfig)
	testkit.FailsWith(t, b.Publish(soon(t), *record(3)), driver.ReasonInternal)
}

// TestRefreshSeesWhatWasPublished has one node change as fast as it can, many times within one
// step of file times, and looks after each. All versions have the same size.
func TestRefreshSeesWhatWasPublished(t *testing.T) {
	dir := t.TempDir()
	a, b := open(t, dirOptions(dir)), open(t, dirOptions(dir))
	began := time.Now()
	const changes = 1000
	for v := range uint64(changes) {
		publish(t, a, version(1, v+1))
		if v%3 == 0 { // two more changes between two looks
			continue
		}
		refresh(t, b)
		if got := b.View().Records[nodeID(1)]; got == nil || got.Version != v+1 {
			t.Fatalf("version %d was published, %v is seen", v+1, got)
		}
	}
	t.Logf("%d changes in %v", changes, time.Since(began))
}

func TestConcurrentPublishKeepsTheNewest(t *testing.T) {
	dir := t.TempDir()
	a, b := open(t, dirOptions(dir)), open(t, dirOptions(dir))
	var all sync.WaitGroup
	for v := range uint64(200) {
		all.Go(func() {
			if err := a.Publish(soon(t), *version(1, v+1)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	refresh(t, b)
	if v := b.View().Records[nodeID(1)].Version; v != 200 {
		t.Errorf("version %d is announced", v)
	}
}

func TestDirAges(t *testing.T) {
	dir := t.TempDir()
	for n, later := range map[int]time.Duration{
		1: -shortTTL / 2, // alive for a while
		2: -time.Hour,    // dead for long
		3: 1000 * time.Hour,
	} {
		plant(t, dir, record(n), process{}, later)
	}
	setTime(t, plant(t, dir, record(4), process{}, 0), time.Unix(1, 0))
	setTime(t, plant(t, dir, record(5), process{}, 0), time.Unix(-1e9, 5))
	b := open(t, shortDir(dir))
	if v := b.View(); v.Records[nodeID(2)] != nil || v.Records[nodeID(4)] != nil || v.Records[nodeID(5)] != nil || v.Records[nodeID(1)] == nil {
		t.Errorf("the view has %v", v.Records)
	}
	waitView(t, b, "all that nobody renews go, those of the future too", has())
	eventually(t, "their files are removed", func() bool {
		for n := 1; n <= 5; n++ {
			if exists(fileOf(dir, n)) {
				return false
			}
		}
		return true
	})
}

// TestDirKeepsWhatIsRenewed runs two nodes for several times their TTL.
func TestDirKeepsWhatIsRenewed(t *testing.T) {
	dir := t.TempDir()
	a, b := open(t, shortDir(dir)), open(t, shortDir(dir))
	publish(t, a, record(1))
	publish(t, b, record(2))
	waitView(t, b, "the other is seen", has(1))
	keeps(t, b, 3*shortTTL, "the other is seen", has(1))
	// A stopped writer, or a user, may lose a file: it is written again.
	if err := os.Remove(fileOf(dir, 1)); err != nil {
		t.Fatal(err)
	}
	keeps(t, b, shortTTL, "the other is seen though its file was removed for a moment", has(1))
	if !exists(fileOf(dir, 1)) {
		t.Error("the removed file was not written again")
	}
}

func TestDirClockSet(t *testing.T) {
	var c dirClock
	now := time.Now()
	if c.set(now.Add(-time.Hour), time.Minute); !c.settleUntil.IsZero() {
		t.Error("another clock than ours counts as one that was set")
	}
	if off := c.now().Sub(now.Add(-time.Hour)); off.Abs() > time.Second {
		t.Errorf("the clock is off by %v", off)
	}
	if c.set(now.Add(-time.Hour+time.Second), time.Minute); !c.settleUntil.IsZero() {
		t.Error("a second is a jump")
	}
	if c.set(now, time.Minute); c.settleUntil.IsZero() {
		t.Error("an hour is no jump")
	}
	s := &dirStore{ttl: time.Minute, clock: c}
	if age := s.age(&dirEntry{seen: time.Now(), stat: fileStat{mtime: now.Add(-time.Hour)}}); age > time.Second {
		t.Errorf("right after the clock was set, a record is %v old", age)
	}
}

// TestDirDeleted deletes the directory under nodes that keep running.
func TestDirDeleted(t *testing.T) {
	for _, tc := range []struct {
		name   string
		remove func(dir string) error
	}{
		{name: "removed", remove: os.RemoveAll},
		{name: "moved away", remove: func(dir string) error { return os.Rename(dir, dir+".old") }},
		{name: "emptied", remove: func(dir string) error {
			for n := 1; n <= 2; n++ {
				if err := os.Remove(fileOf(dir, n)); err != nil {
					return err
				}
			}
			return nil
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "nodes")
			a, b := open(t, dirOptions(dir)), open(t, dirOptions(dir))
			publish(t, a, record(1))
			publish(t, b, record(2))
			waitView(t, b, "the other is seen", has(1))
			if err := tc.remove(dir); err != nil {
				t.Fatal(err)
			}
			lost := time.Now()
			keeps(t, b, 50*time.Millisecond, "the view is kept", has(1))
			eventually(t, "both are announced again", func() bool { return exists(fileOf(dir, 1)) && exists(fileOf(dir, 2)) })
			if took := time.Since(lost); took > 2500*time.Millisecond {
				t.Errorf("it took %v", took)
			}
			keeps(t, b, 1500*time.Millisecond, "the view is kept", has(1))
			c := open(t, dirOptions(dir))
			refresh(t, c)
			if !has(1, 2)(c.View()) {
				t.Errorf("a new node sees %v", c.View().Records)
			}
			publish(t, a, version(1, 2))
			waitView(t, b, "changes are seen again", func(v *View) bool { return v.Records[nodeID(1)].Version == 2 })
		})
	}
}

// TestDirAway makes the directory unusable for a while.
func TestDirAway(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "nodes")
	a := open(t, dirOptions(dir))
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := a.Publish(soon(t), *record(1))
	if err == nil || a.Health() == nil || !strings.Contains(err.Error(), dir) {
		t.Fatalf("Publish: %v, Health: %v", err, a.Health())
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is announced by itself", func() bool { return exists(fileOf(dir, 1)) })
	eventually(t, "it is healthy again", func() bool { return a.Health() == nil })
}

func TestDefaultDir(t *testing.T) {
	parent := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", "")
	t.Setenv("TMPDIR", parent)
	own := filepath.Join(parent, fmt.Sprintf("parley-%d", os.Geteuid()))
	dir := filepath.Join(own, "zmq")
	a := open(t, Options{})
	publish(t, a, record(1))
	for _, path := range []string{own, dir} {
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", path, st, err)
		}
	}
	if !exists(fileOf(dir, 1)) {
		t.Error("the record is not in the default directory")
	}
	xdg := filepath.Join(parent, "xdg")
	if err := os.Mkdir(xdg, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_RUNTIME_DIR", xdg)
	b := open(t, Options{Variant: "local", Namespace: "a/../b"})
	publish(t, b, record(2))
	if !exists(fileOf(filepath.Join(xdg, "parley", "zmq", "ns-a%2F..%2Fb"), 2)) {
		t.Error("the record is not in the directory of its namespace")
	}
	_, err := Open(Options{Namespace: strings.Repeat("x", 300)})
	testkit.FailsWith(t, err, driver.ReasonConfig)
}

func TestDirRefused(t *testing.T) {
	for _, tc := range []struct {
		name string
		make func(own string) error
		root bool
	}{
		{name: "symbolic link", make: func(own string) error { return os.Symlink(filepath.Dir(own), own) }},
		{name: "mode", make: func(own string) error { return os.Mkdir(own, 0o755) }},
		{name: "file", make: func(own string) error { return os.WriteFile(own, nil, 0o600) }},
		{name: "owner", make: func(own string) error { return errors.Join(os.Mkdir(own, 0o700), os.Chown(own, 12345, 12345)) }, root: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.root && os.Geteuid() != 0 {
				t.Log("NOT PROVEN: that takes root")
				return
			}
			parent := t.TempDir()
			t.Setenv("XDG_RUNTIME_DIR", "")
			t.Setenv("TMPDIR", parent)
			if err := tc.make(filepath.Join(parent, fmt.Sprintf("parley-%d", os.Geteuid()))); err != nil {
				t.Fatal(err)
			}
			_, err := Open(Options{})
			if e := testkit.Failure(t, err, driver.ReasonConfig); e.Hint == "" {
				t.Error("no hint")
			}
		})
	}
	for _, path := range []string{"relative", "/dev/null", "/proc/nothing/here"} {
		_, err := Open(dirOptions(path))
		if e := testkit.Failure(t, err, driver.ReasonConfig); e.Hint == "" {
			t.Error("no hint")
		}
	}
	_, err := Open(Options{Variant: "nonsense"})
	testkit.FailsWith(t, err, driver.ReasonConfig)
	_, err = Open(Options{TTL: time.Millisecond})
	testkit.FailsWith(t, err, driver.ReasonConfig)
}

// TestManyRecords has 200 nodes in one directory and measures what a look costs.
func TestManyRecords(t *testing.T) {
	for _, n := range []int{5, 200} {
		dir := t.TempDir()
		me := thisProcess()
		b := open(t, dirOptions(dir))
		for i := range n {
			plant(t, dir, record(i), me, 0)
		}
		refresh(t, b)
		if len(b.View().Records) != n {
			t.Fatalf("%d records are seen, want %d", len(b.View().Records), n)
		}
		// Times of files are old enough then to tell that nothing changed.
		eventually(t, "the times are old", func() bool {
			st, err := os.Stat(dir)
			return err == nil && time.Since(st.ModTime()) > 2*fineTick
		})
		refresh(t, b)
		const looks = 200
		began := time.Now()
		for range looks {
			refresh(t, b)
		}
		t.Logf("%d files: %v for a Refresh", n, time.Since(began)/looks)
	}
}

// TestManyNodes has 30 registries in one directory find each other.
func TestManyNodes(t *testing.T) {
	const n = 30
	dir := t.TempDir()
	all := make([]Registry, n)
	for i := range all {
		all[i] = open(t, dirOptions(dir))
	}
	for i, r := range all {
		publish(t, r, record(i))
	}
	began := time.Now()
	for _, r := range all {
		waitView(t, r, "it sees all others", func(v *View) bool { return len(v.Records) == n-1 })
	}
	t.Logf("the last of %d nodes saw all others %v after the last was there", n, time.Since(began))
}

func TestLateCallers(t *testing.T) {
	r := open(t, dirOptions(t.TempDir()))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	// Both may win; neither hangs, and what was published is announced in any case.
	if err := r.Publish(ctx, *record(1)); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := r.Refresh(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	k := r.(*keeper)
	eventually(t, "it is announced", func() bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		return !k.dirty
	})
}

// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/parleymq/parley/plugin/driver"
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
	wantReason(t, a.Publish(soon(t), *version(1, 3)), driver.ReasonClosed)
	wantReason(t, a.Refresh(soon(t)), driver.ReasonClosed)
	shut(t, a)
	if err := b.Health(); err != nil {
		t.Error(err)
	}
	wantReason(t, b.Publish(soon(t), Record{Node: "x"}), driver.ReasonConfig)
	wantReason(t, b.Publish(soon(t), *record(3)), driver.ReasonInternal)
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

// startHelper starts a process that is node n = its pid in dir.
func startHelper(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), helperVariable+"="+dir)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cmd.StdinPipe(); err != nil { // closed when this process ends
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("the helper printed %q, %v", line, err)
	}
	return cmd
}

// TestKilledProcess leaves a record that is found dead long before its TTL of 15 seconds.
func TestKilledProcess(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dirOptions(dir))
	cmd := startHelper(t, dir)
	n := cmd.Process.Pid
	waitView(t, b, "the other process is seen", has(n))
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	killed := time.Now()
	waitView(t, b, "the killed process goes", has())
	if took := time.Since(killed); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	eventually(t, "its file is removed", func() bool { return !exists(fileOf(dir, n)) })

	stopped := startHelper(t, dir)
	n = stopped.Process.Pid
	waitView(t, b, "another process is seen", has(n))
	if err := stopped.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	keeps(t, b, 2*time.Second, "a stopped process is not dead", has(n))
}

func TestProcessIdentity(t *testing.T) {
	me := thisProcess()
	if me.Host == "" {
		t.Log("NOT PROVEN: there is no /proc")
		return
	}
	other := me
	other.Start++ // the id is another process's now
	elsewhere := me
	elsewhere.Host = "another boot"
	container := me
	container.Space = "pid:[1]"
	if !me.sees(me) || me.sees(elsewhere) || me.sees(container) || me.sees(process{}) || (process{}).sees(me) {
		t.Error("wrong processes are seen")
	}
	if me.vanished() || me.ended() || !other.ended() {
		t.Errorf("vanished %v, ended %v, another with its id ended %v", me.vanished(), me.ended(), other.ended())
	}
}

// TestSocketWithoutListener is how a record dies that a process in another container wrote.
func TestSocketWithoutListener(t *testing.T) {
	me := thisProcess()
	s := &dirStore{me: me}
	dir := t.TempDir()
	dead, alive := filepath.Join(dir, "dead"), filepath.Join(dir, "alive")
	for _, path := range []string{dead, alive} {
		fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}); err != nil {
			t.Fatal(err)
		}
		if path == alive {
			if err := syscall.Listen(fd, 5); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = syscall.Close(fd) }()
			continue
		}
		if err := syscall.Close(fd); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		name      string
		endpoints []string
		host      string
		refused   bool
	}{
		{name: "nobody listens", endpoints: []string{"ipc://" + dead}, host: me.Host, refused: true},
		{name: "somebody listens", endpoints: []string{"ipc://" + alive}, host: me.Host},
		{name: "one of two", endpoints: []string{"ipc://" + dead, "ipc://" + alive}, host: me.Host},
		{name: "not there", endpoints: []string{"ipc://" + dir + "/none"}, host: me.Host},
		{name: "tcp too", endpoints: []string{"ipc://" + dead, "tcp://127.0.0.1:1"}, host: me.Host},
		{name: "another machine", endpoints: []string{"ipc://" + dead}, host: "x"},
		{name: "no endpoint", host: me.Host},
	} {
		file := &recordFile{Record: Record{Endpoints: tc.endpoints}, Process: process{Host: tc.host}}
		if got := s.refused(file); got != tc.refused {
			t.Errorf("%s: %v", tc.name, got)
		}
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

func TestForeignFiles(t *testing.T) {
	dir := t.TempDir()
	name := func(n int) string { return fileOf(dir, n) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	good, err := encodeRecordFile(record(1), process{})
	must(err)
	must(os.WriteFile(name(1), good, 0o600))
	must(os.WriteFile(name(2), []byte(`{"record":`), 0o600))
	must(os.WriteFile(name(3), nil, 0o600))
	must(os.Truncate(name(3), 1<<30)) // sparse
	must(os.Symlink(name(1), name(4)))
	must(syscall.Mkfifo(name(5), 0o600))
	must(os.Mkdir(name(6), 0o700))
	must(os.WriteFile(name(7), good, 0o600)) // another node's
	must(os.WriteFile(filepath.Join(dir, "README"), []byte("hello"), 0o600))
	must(os.WriteFile(filepath.Join(dir, ".hidden"), []byte("hello"), 0o600))
	ignored := 7
	must(os.WriteFile(name(8), nil, 0o600))
	if os.Geteuid() == 0 {
		must(os.WriteFile(name(8), []byte(strings.ReplaceAll(string(good), nodeID(1), nodeID(8))), 0o600))
		must(os.Chown(name(8), 12345, 12345))
	} else {
		t.Log("NOT PROVEN: a file of another user is ignored; that takes root")
	}
	ignored++
	logs := &logBuffer{}
	o := dirOptions(dir)
	o.Logger = logs.logger()
	began := time.Now()
	b := open(t, o)
	for range 5 {
		refresh(t, b)
	}
	if took := time.Since(began); took > patience/2 {
		t.Errorf("it took %v", took)
	}
	if !has(1)(b.View()) {
		t.Errorf("the view has %v", b.View().Records)
	}
	if n := logs.count("is ignored"); n != ignored {
		t.Errorf("%d lines, want %d:\n%s", n, ignored, logs.b.String())
	}
	if err := b.Health(); err != nil {
		t.Error(err)
	}
	if os.Geteuid() == 0 {
		o.Insecure = true
		c := open(t, o)
		refresh(t, c)
		if !has(1, 8)(c.View()) {
			t.Errorf("with Insecure the view has %v", c.View().Records)
		}
	}
}

func TestForeignFilesAreNotDeleted(t *testing.T) {
	dir := t.TempDir()
	file := fileOf(dir, 1)
	if err := os.WriteFile(file, []byte(`{"my": "data"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	setTime(t, file, time.Now().Add(-24*time.Hour))
	temp := filepath.Join(dir, tempPrefix+nodeID(2)+tempSuffix)
	if err := os.WriteFile(temp, []byte(`{"record`), 0o600); err != nil {
		t.Fatal(err)
	}
	setTime(t, temp, time.Now().Add(-24*time.Hour))
	b := open(t, shortDir(dir))
	eventually(t, "what a killed writer left is removed", func() bool { return !exists(temp) })
	refresh(t, b)
	if !exists(file) {
		t.Error("a file that is no record was removed")
	}
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
	wantReason(t, err, driver.ReasonConfig)
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
			if e := wantError(t, err, driver.ReasonConfig); e.Hint == "" {
				t.Error("no hint")
			}
		})
	}
	for _, path := range []string{"relative", "/dev/null", "/proc/nothing/here"} {
		_, err := Open(dirOptions(path))
		if e := wantError(t, err, driver.ReasonConfig); e.Hint == "" {
			t.Error("no hint")
		}
	}
	_, err := Open(Options{Variant: "nonsense"})
	wantReason(t, err, driver.ReasonConfig)
	_, err = Open(Options{TTL: time.Millisecond})
	wantReason(t, err, driver.ReasonConfig)
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

func FuzzParseRecordFile(f *testing.F) {
	good, err := encodeRecordFile(record(1), thisProcess())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"record":{"node":"x"}}`))
	f.Add([]byte(`{"record":{"node":"00000000000000000000000000000002","targets":[{"kind":9}]}}`))
	f.Add([]byte(`null`))
	name := nodeID(1) + recordSuffix
	f.Fuzz(func(t *testing.T, text []byte) {
		file, err := parseRecordFile(name, text)
		if err != nil {
			return
		}
		again, err := encodeRecordFile(&file.Record, file.Process)
		if err != nil {
			return // it grew above the limit
		}
		same, err := parseRecordFile(name, again)
		if err != nil || !same.Record.equal(&file.Record) || same.Process != file.Process {
			t.Errorf("%s is read as %v, then %v, %v", text, file, same, err)
		}
	})
}

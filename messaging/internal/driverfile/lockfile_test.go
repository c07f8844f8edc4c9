// SPDX-License-Identifier: Apache-2.0

package driverfile

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/parleymq/parley/messaging/internal/hosttest"
	"github.com/parleymq/parley/plugin/driver"
)

func TestLockFileFormat(t *testing.T) {
	path := filepath.Join(hosttest.PrivateDir(t), "new", "parley.lock")
	lock := lockFile{path: path}
	when := time.Date(2026, 11, 23, 7, 0, 0, 0, time.UTC)
	for _, e := range []LockEntry{
		{Path: "/proc/self/stat", Name: "b", Checksum: checksum("1"), Size: 2, Recorded: when, By: "accepted by parley"},
		{Path: "/bin/sh", Name: "a", Version: "1.0.0", Checksum: checksum("2"), Size: 3, Recorded: when, By: "first use by <app>"},
	} {
		_, err := lock.record([]LockEntry{e}, true)
		must(t, err)
	}
	text, err := os.ReadFile(path)
	must(t, err)
	want := `{
  "format": 1,
  "drivers": [
    {
      "path": "/bin/sh",
      "name": "a",
      "version": "1.0.0",
      "checksum": "` + string(checksum("2")) + `",
      "size": 3,
      "recorded": "2026-11-23T07:00:00Z",
      "by": "first use by <app>"
    },
    {
      "path": "/proc/self/stat",
      "name": "b",
      "checksum": "` + string(checksum("1")) + `",
      "size": 2,
      "recorded": "2026-11-23T07:00:00Z",
      "by": "accepted by parley"
    }
  ]
}
`
	if string(text) != want {
		t.Errorf("got %s", text)
	}
	for file, mode := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", file, info, err)
		}
	}
	// A system's lock file is for all users to read, and stays so.
	must(t, os.Chmod(path, 0o644))
	_, err = lock.record([]LockEntry{{Path: "/bin/sh", Name: "a", Checksum: checksum("3"), Recorded: when}}, false)
	must(t, err)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("%v, %v", info, err)
	}
}

func checksum(digit string) Checksum { return Checksum(checksumPrefix + strings.Repeat(digit, 64)) }

// TestLockFileRefused: what is not understood is neither believed nor replaced.
func TestLockFileRefused(t *testing.T) {
	entry := fmt.Sprintf(`{"path":"/x","name":"x","checksum":%q,"size":1,"recorded":"2026-11-23T07:00:00Z","by":"x"}`, checksum("a"))
	for name, tc := range map[string]struct {
		text   string
		change func(path string) error
		want   string
	}{
		"empty":            {want: "is not understood: it is not the JSON"},
		"garbage":          {text: "\x7fELF\x00", want: "restore it; or remove it"},
		"no object":        {text: "[]", want: "not the JSON"},
		"later format":     {text: `{"format":2,"drivers":[]}`, want: "its format is 2"},
		"no format":        {text: `{"drivers":[]}`, want: "its format is 0"},
		"unknown field":    {text: `{"format":1,"drivers":[],"signed":true}`, want: "signed"},
		"trailing":         {text: `{"format":1,"drivers":[]} {}`, want: "something follows"},
		"cut":              {text: `{"format":1,"drivers":[` + entry, want: "not the JSON"},
		"two entries":      {text: `{"format":1,"drivers":[` + entry + "," + entry + `]}`, want: "two entries for /x"},
		"relative path":    {text: `{"format":1,"drivers":[` + strings.Replace(entry, "/x", "x", 1) + `]}`, want: "not an absolute path"},
		"short checksum":   {text: `{"format":1,"drivers":[` + strings.Replace(entry, "aa", "a", 1) + `]}`, want: "is not a checksum"},
		"other hash":       {text: `{"format":1,"drivers":[` + strings.Replace(entry, "sha256", "md5", 1) + `]}`, want: "is not a checksum"},
		"upper case":       {text: `{"format":1,"drivers":[` + strings.Replace(entry, "aa", "AA", 1) + `]}`, want: "is not a checksum"},
		"no time":          {text: `{"format":1,"drivers":[` + strings.Replace(entry, `"recorded":"2026-11-23T07:00:00Z",`, "", 1) + `]}`, want: "when it was recorded"},
		"too large":        {text: strings.Repeat(" ", maxLockFile+1), want: "larger than 1048576 bytes"},
		"writable":         {text: "{}", change: func(p string) error { return os.Chmod(p, 0o666) }, want: "run: chmod go-w"},
		"group":            {text: "{}", change: func(p string) error { return os.Chmod(p, 0o620) }, want: "run: chmod go-w"},
		"loose directory":  {text: "{}", change: func(p string) error { return os.Chmod(filepath.Dir(p), 0o777) }, want: "run: chmod go-w"},
		"a directory":      {change: func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o700)) }, want: "is not a regular file"},
		"a pipe":           {change: func(p string) error { return errors.Join(os.Remove(p), unix.Mkfifo(p, 0o600)) }, want: "is not a regular file"},
		"link to a device": {change: func(p string) error { return errors.Join(os.Remove(p), os.Symlink("/dev/zero", p)) }, want: "zero"},
	} {
		t.Run(name, func(t *testing.T) {
			c, trust := testCandidate(t, "x"), testTrust(t, TrustLock)
			must(t, os.WriteFile(trust.LockFile, []byte(tc.text), 0o600))
			if tc.change != nil {
				must(t, tc.change(trust.LockFile))
			}
			mustRefuse(t, c, trust, trust.LockFile, tc.want)
			_, err := trust.Accept(c)
			e, ok := errors.AsType[*driver.Error](err)
			if !ok {
				t.Fatal("it was replaced")
			}
			hosttest.MustSay(t, e, driver.ReasonConfig, trust.LockFile, tc.want)
			if s := trust.Examine(c); s.State != StateUnknown || !strings.Contains(s.Why, tc.want) {
				t.Errorf("stands %+v", s)
			}
			if info, err := os.Stat(trust.LockFile); err == nil && info.Mode().IsRegular() {
				text, err := os.ReadFile(trust.LockFile)
				if err != nil || string(text) != tc.text {
					t.Errorf("it became %q, %v", text, err)
				}
			}
		})
	}
}

func TestLockFileOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT PROVEN: foreign owners, which only root can make")
	}
	c, trust := testCandidate(t, "x"), testTrust(t, TrustLock)
	must(t, open(c, trust))
	must(t, os.Chown(trust.LockFile, 12345, 12345))
	mustRefuse(t, c, trust, trust.LockFile, "belongs to user id 12345", "chown root "+trust.LockFile)
}

func TestPrune(t *testing.T) {
	trust := testTrust(t, TrustLock)
	gone, stays := testCandidate(t, "gone"), testCandidate(t, "stays")
	for _, c := range []Candidate{gone, stays} {
		must(t, open(c, trust))
	}
	must(t, os.Remove(gone.Path))
	must(t, open(stays, trust)) // records nothing
	lock := lockFile{path: trust.LockFile}
	content, err := lock.read()
	must(t, err)
	if _, there := content.find(gone.Path); !there {
		t.Error("it was pruned by a reader")
	}
	must(t, open(testCandidate(t, "new"), trust))
	content, err = lock.read()
	must(t, err)
	if _, there := content.find(gone.Path); there || len(content.Drivers) != 2 {
		t.Errorf("got %+v", content)
	}
}

func TestPathsThatCannotBeRecorded(t *testing.T) {
	dir := filepath.Join(hosttest.PrivateDir(t), "\xff\xfe")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skipf("NOT PROVEN: a path that is not UTF-8: %v", err)
	}
	c, err := At(hosttest.WriteProgram(t, dir, "x", anyScript))
	must(t, err)
	mustRefuse(t, c, testTrust(t, TrustLock), "is not UTF-8")
}

// recorderVariable makes a process of the test a recorder: its value is a driver's directory.
const recorderVariable = "PARLEY_TEST_RECORDER"

// TestRecorderProcess is no test of its own: it is the process of TestConcurrentRecorders.
func TestRecorderProcess(t *testing.T) {
	dir := os.Getenv(recorderVariable)
	if dir == "" {
		return
	}
	useAll(t, dir)
}

// useAll uses all drivers of a directory for the first time.
func useAll(t testing.TB, dir string) {
	for _, c := range pathOf(dir).List() {
		if err := open(c, Trust{}); err != nil {
			t.Error(err)
		}
	}
}

// TestConcurrentRecorders has processes and goroutines use drivers for the first time at once: no
// entry is lost, and the files that all of them use have one.
func TestConcurrentRecorders(t *testing.T) {
	const processes, goroutines, own = 4, 4, 6
	trust := testTrust(t, TrustLock)
	t.Setenv(LockFileVariable, trust.LockFile)
	shared := hosttest.PrivateDir(t)
	for i := range own {
		hosttest.WriteProgram(t, shared, fmt.Sprintf("shared-%d", i), anyScript)
	}
	begin := time.Now()
	var all sync.WaitGroup
	for i := range processes + goroutines {
		dir := hosttest.PrivateDir(t)
		for j := range own {
			hosttest.WriteProgram(t, dir, fmt.Sprintf("own-%d-%d", i, j), anyScript)
		}
		all.Go(func() {
			for _, dir := range []string{dir, shared} {
				if i >= processes {
					useAll(t, dir)
					continue
				}
				cmd := exec.Command(os.Args[0], "-test.run=^TestRecorderProcess$")
				cmd.Env = append(os.Environ(), recorderVariable+"="+dir)
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%v: %s", err, out)
				}
			}
		})
	}
	all.Wait()
	content, err := lockFile{path: trust.LockFile}.read()
	must(t, err)
	if want := own * (processes + goroutines + 1); len(content.Drivers) != want {
		t.Errorf("%d entries, want %d", len(content.Drivers), want)
	}
	t.Logf("%d processes and %d goroutines recorded %d files in %s", processes, goroutines, len(content.Drivers), time.Since(begin).Round(time.Millisecond))
}

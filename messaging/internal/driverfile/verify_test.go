// SPDX-License-Identifier: Apache-2.0

package driverfile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parleymq/parley/messaging/internal/hosttest"
	"github.com/parleymq/parley/plugin/driver"
)

const otherScript = "#!/bin/sh\nexit 1\n"

// testTrust keeps its checksums in a file of the test.
func testTrust(t testing.TB, mode TrustMode) Trust {
	t.Helper()
	return Trust{Mode: mode, LockFile: filepath.Join(hosttest.PrivateDir(t), "parley.lock")}
}

// testCandidate is a driver made of a script.
func testCandidate(t testing.TB, name string) Candidate {
	t.Helper()
	c, err := At(hosttest.WriteProgram(t, hosttest.PrivateDir(t), name, anyScript))
	must(t, err)
	return c
}

// open checks the file and returns the error.
func open(c Candidate, t Trust) error {
	f, err := OpenVerified(c, t)
	if err == nil {
		err = f.Close()
	}
	return err
}

// mustRefuse fails unless the file is refused with these texts.
func mustRefuse(t *testing.T, c Candidate, trust Trust, texts ...string) {
	t.Helper()
	e, ok := errors.AsType[*driver.Error](open(c, trust))
	if !ok {
		t.Fatalf("%s was accepted", c.Path)
	}
	hosttest.MustSay(t, e, driver.ReasonConfig, texts...)
}

// replace puts another program in the place of the file, as a package manager does.
func replace(t testing.TB, path, text string) {
	t.Helper()
	must(t, os.WriteFile(path+"~", []byte(text), 0o755))
	must(t, os.Chmod(path+"~", 0o755))
	must(t, os.Rename(path+"~", path))
}

func TestTrustModes(t *testing.T) {
	for _, tc := range []struct {
		mode              TrustMode
		recorded, changed bool
		refused           string
	}{
		{mode: TrustOff},
		{mode: TrustOff, recorded: true, changed: true},
		{mode: TrustLock},
		{mode: TrustLock, recorded: true},
		{mode: TrustLock, recorded: true, changed: true, refused: "has changed"},
		{mode: TrustRequire, refused: "is not recorded"},
		{mode: TrustRequire, recorded: true},
		{mode: TrustRequire, recorded: true, changed: true, refused: "has changed"},
	} {
		t.Run(fmt.Sprintf("%+v", tc), func(t *testing.T) {
			c, trust := testCandidate(t, "x"), testTrust(t, tc.mode)
			if tc.recorded {
				_, err := trust.Accept(c)
				must(t, err)
			}
			if tc.changed {
				replace(t, c.Path, otherScript)
			}
			if tc.refused == "" {
				must(t, open(c, trust))
				must(t, open(c, trust)) // and again
				return
			}
			command := "parley drivers accept --lock-file " + ShellQuote(trust.LockFile) + " " + ShellQuote(c.Path)
			mustRefuse(t, c, trust, "driver x is refused", c.Path, tc.refused, "run: "+command)
			_, err := trust.Accept(c) // what the command does
			must(t, err)
			must(t, open(c, trust))
		})
	}
}

// TestRefusalTexts has the whole texts, since they are what an operator sees.
func TestRefusalTexts(t *testing.T) {
	c, trust := testCandidate(t, "x_v1.2.3"), testTrust(t, TrustLock)
	must(t, open(c, trust))
	lock := lockFile{path: trust.LockFile}
	content, err := lock.read()
	must(t, err)
	was, ok := content.find(c.Path)
	if !ok || was.Name != "x" || was.Version != "1.2.3" || was.Size != int64(len(anyScript)) || was.By != "first use by "+filepath.Base(os.Args[0]) {
		t.Fatalf("recorded %+v", content)
	}
	replace(t, c.Path, otherScript)
	now := trust.Examine(c)
	want := fmt.Sprintf("driver x is refused: file %s has changed: its checksum is %.19s…, and %.19s… was recorded on %s (%s); "+
		"if the new one is to be trusted, run: parley drivers accept --lock-file %s %s",
		c.Path, now.Checksum, was.Checksum, was.Recorded.Format("2006-01-02T15:04:05Z"), was.By, trust.LockFile, c.Path)
	if now.State != StateChanged || now.Why != want || now.Recorded != was.Checksum {
		t.Errorf("got  %+v\nwant %s", now, want)
	}
	unknown := testCandidate(t, "y")
	trust.Mode = TrustRequire
	now = trust.Examine(unknown)
	want = fmt.Sprintf("driver y is refused: the checksum %.19s… of file %s is not recorded in %s; "+
		"if it is to be trusted, run: parley drivers accept --lock-file %s %s",
		now.Checksum, unknown.Path, trust.LockFile, trust.LockFile, unknown.Path)
	if now.State != StateNew || now.Why != want {
		t.Errorf("got  %+v\nwant %s", now, want)
	}
}

func TestAcceptCommand(t *testing.T) {
	named, byDefault := lockFile{path: "/l/a b.lock", named: true}, lockFile{path: "/home/me/.local/state/parley/parley.lock"}
	at := func(origin string, pinned bool) Candidate {
		return Candidate{Name: "x", Path: "/d d/parley-driver-x", Dir: SearchDir{Path: "/d d", Origin: origin}, pinned: pinned}
	}
	for _, tc := range []struct {
		c    Candidate
		lock lockFile
		want string
	}{
		{at(originUser, false), byDefault, "parley drivers accept x"},
		{at(originSystem, false), byDefault, "parley drivers accept x"},
		{at(originOption, false), byDefault, "parley drivers accept --driver-path '/d d' x"},
		{at(DriverPathVariable, false), byDefault, "parley drivers accept --driver-path '/d d' x"},
		{at(originExecutable, false), named, "parley drivers accept --lock-file '/l/a b.lock' --driver-path '/d d' x"},
		{at(originUser, true), byDefault, "parley drivers accept '/d d/parley-driver-x'"},
		{Candidate{Name: "x", Path: "/d/parley-driver-x"}, byDefault, "parley drivers accept /d/parley-driver-x"},
	} {
		if got := acceptCommand(tc.c, tc.lock); got != tc.want {
			t.Errorf("got %s, want %s", got, tc.want)
		}
	}
}

// TestAttacks has what somebody without the rights of this user could try.
func TestAttacks(t *testing.T) {
	for name, attack := range map[string]func(t *testing.T, c *Candidate) string{
		"directory writable": func(t *testing.T, c *Candidate) string {
			must(t, os.Chmod(filepath.Dir(c.Path), 0o777))
			return "chmod go-w " + filepath.Dir(c.Path)
		},
		"sticky directory": func(t *testing.T, c *Candidate) string {
			must(t, os.Chmod(filepath.Dir(c.Path), 0o777|os.ModeSticky))
			return "use a directory that only you may write to"
		},
		"file writable": func(t *testing.T, c *Candidate) string {
			must(t, os.Chmod(c.Path, 0o777))
			return "chmod go-w " + c.Path
		},
		"link into a writable directory": func(t *testing.T, c *Candidate) string {
			loose := hosttest.PrivateDir(t)
			target := hosttest.WriteProgram(t, loose, "x", anyScript)
			must(t, os.Remove(c.Path))
			must(t, os.Symlink(target, c.Path))
			must(t, os.Chmod(loose, 0o777))
			return "chmod go-w " + loose
		},
		"other content": func(t *testing.T, c *Candidate) string {
			replace(t, c.Path, otherScript)
			return "has changed"
		},
		"written in place": func(t *testing.T, c *Candidate) string {
			must(t, os.WriteFile(c.Path, []byte(otherScript), 0o755))
			return "has changed"
		},
		"same file by another way": func(t *testing.T, c *Candidate) string {
			shop := hosttest.PrivateDir(t)
			link := filepath.Join(shop, "parley-driver-x")
			must(t, os.Symlink(c.Path, link))
			replace(t, c.Path, otherScript)
			c.Path = link
			return "has changed"
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, mode := range []TrustMode{TrustLock, TrustRequire} {
				c, trust := testCandidate(t, "x"), testTrust(t, mode)
				_, err := trust.Accept(c)
				must(t, err)
				want := attack(t, &c)
				mustRefuse(t, c, trust, want)
			}
		})
	}
}

// TestUnrecorded: a service without a home can start drivers, unless it asks for more.
func TestUnrecorded(t *testing.T) {
	file := filepath.Join(hosttest.PrivateDir(t), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	for name, env := range map[string]map[string]string{
		"no home":        {"HOME": ""},
		"relative home":  {"HOME": "here"},
		"home is a file": {"HOME": file},
		"state is there": {"HOME": "", "XDG_STATE_HOME": file},
	} {
		t.Run(name, func(t *testing.T) {
			for _, name := range []string{"HOME", "XDG_STATE_HOME", LockFileVariable} {
				t.Setenv(name, env[name])
			}
			c, told := testCandidate(t, "x"), 0
			trust := Trust{Unrecorded: func(error) { told++ }}
			must(t, open(c, trust))
			if told != 1 {
				t.Errorf("told %d times", told)
			}
			if s := trust.Examine(c); s.State != StateNew && s.State != StateUnknown {
				t.Errorf("stands %+v", s)
			}
			trust.Mode = TrustRequire
			mustRefuse(t, c, trust)
			trust.Mode = TrustOff
			must(t, open(c, trust))
			// A place that somebody named has to work.
			mustRefuse(t, c, Trust{LockFile: filepath.Join(file, "parley.lock")}, file)
		})
	}
	t.Setenv("HOME", "")
	t.Setenv("XDG_STATE_HOME", "")
	t.Setenv(LockFileVariable, "")
	mustRefuse(t, testCandidate(t, "x"), Trust{Mode: TrustRequire}, "there is no place", "set "+LockFileVariable)
}

func TestDefaultLockFile(t *testing.T) {
	for _, tc := range []struct {
		option string
		env    map[string]string
		want   string
		named  bool
	}{
		{"/o.lock", map[string]string{LockFileVariable: "/v.lock", "HOME": "/h"}, "/o.lock", true},
		{"", map[string]string{LockFileVariable: "/v.lock", "XDG_STATE_HOME": "/s"}, "/v.lock", true},
		{"", map[string]string{"XDG_STATE_HOME": "/s", "HOME": "/h"}, "/s/parley/parley.lock", false},
		{"", map[string]string{"XDG_STATE_HOME": "s", "HOME": "/h"}, "/h/.local/state/parley/parley.lock", false},
	} {
		got, err := Trust{LockFile: tc.option}.lockFile(hosttest.Env(tc.env))
		if err != nil || got.path != tc.want || got.named != tc.named {
			t.Errorf("%+v: got %+v, %v", tc, got, err)
		}
	}
}

// midway writes to the file it is a copy of, once.
type midway struct {
	t    *testing.T
	path string
	done bool
}

func (m *midway) Write(p []byte) (int, error) {
	if !m.done {
		m.done = true
		f, err := os.OpenFile(m.path, os.O_WRONLY, 0)
		must(m.t, err)
		_, err = f.WriteAt([]byte("#!/bin/ev"), 0)
		must(m.t, errors.Join(err, f.Close()))
	}
	return len(p), nil
}

// TestMeasureNoticesWriting: the file is written to in place after its first bytes were read.
func TestMeasureNoticesWriting(t *testing.T) {
	c := testCandidate(t, "x")
	must(t, os.WriteFile(c.Path, []byte(anyScript+strings.Repeat("# filler\n", 100_000)), 0o755))
	f, err := OpenTrusted(c.Path)
	must(t, err)
	defer f.Close() //nolint:errcheck // nothing was written
	_, err = measure(f, &midway{t: t, path: c.Path})
	e, ok := errors.AsType[*driver.Error](err)
	if !ok {
		t.Fatalf("got %v", err)
	}
	hosttest.MustSay(t, e, driver.ReasonDriverGone, "is written to", "parley drivers install")
	if !e.Retryable {
		t.Error("it may be complete the next time")
	}
	if _, err := measure(f, nil); err != nil {
		t.Error(err)
	}
	if at, err := f.Seek(0, io.SeekCurrent); at != 0 || err != nil {
		t.Errorf("the offset is %d, %v", at, err)
	}
}

// SPDX-License-Identifier: Apache-2.0

package driverfile

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parleymq/parley/messaging/internal/hosttest"
	"github.com/parleymq/parley/plugin/driver"
)

// describing is a program that says what it is.
func describing(name, version string) string {
	return "#!/bin/sh\n[ \"$*\" = describe ] && echo '{\"name\": \"" + name + "\", \"version\": \"" + version + "\", \"sdk_version\": \"0.1.0\"}'\n"
}

// build writes a program to be installed.
func build(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(hosttest.PrivateDir(t), "build")
	must(t, os.WriteFile(path, []byte(text), 0o700))
	return path
}

// filesIn lists a directory.
func filesIn(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestInstall(t *testing.T) {
	data := hosttest.PrivateDir(t)
	t.Setenv("XDG_DATA_HOME", data)
	dir := filepath.Join(data, "parley", "drivers")
	trust := testTrust(t, TrustRequire)
	var last Installed
	for _, version := range []string{"1.9.0", "1.10.0"} {
		done, err := trust.Install(t.Context(), Installation{File: build(t, describing("x", version))})
		must(t, err)
		if want := filepath.Join(dir, "parley-driver-x_v"+version); done.Path != want || done.Name != "x" || done.Version != version {
			t.Errorf("got %+v", done)
		}
		must(t, open(done.Candidate, trust)) // which it must be recorded for
		last = done
	}
	if len(last.Others) != 1 || last.Others[0].Version != "1.9.0" {
		t.Errorf("others %+v", last.Others)
	}
	want := []string{"parley-driver-x_v1.10.0", "parley-driver-x_v1.10.0.json", "parley-driver-x_v1.9.0", "parley-driver-x_v1.9.0.json"}
	if got := filesIn(t, dir); !slices.Equal(got, want) {
		t.Errorf("files %v", got)
	}
	for path, mode := range map[string]os.FileMode{last.Path: 0o755, last.Manifest: 0o644} {
		if info, err := os.Stat(path); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	if m, err := readManifest(last.Manifest); err != nil || m.Name != "x" || m.Version != "1.10.0" {
		t.Errorf("manifest %+v, %v", m, err)
	}
	c, err := NewSearchPath(nil, os.Getenv, "").Find("x")
	if err != nil || c.Path != last.Path {
		t.Errorf("found %+v, %v", c, err)
	}
}

// TestInstallReplaces: another build of the same version is a new file, never written in place.
func TestInstallReplaces(t *testing.T) {
	dir, trust := hosttest.PrivateDir(t), testTrust(t, TrustRequire)
	first, err := trust.Install(t.Context(), Installation{File: build(t, describing("x", "1.0.0")), Dir: dir})
	must(t, err)
	running, err := OpenVerified(first.Candidate, trust)
	must(t, err)
	defer running.Close() //nolint:errcheck // nothing was written
	before, err := measure(running, nil)
	must(t, err)
	second, err := trust.Install(t.Context(), Installation{File: build(t, describing("x", "1.0.0")+"# again\n"), Dir: dir})
	must(t, err)
	if second.Path != first.Path || second.Recorded != first.Checksum || second.Checksum == first.Checksum || len(second.Others) != 0 {
		t.Errorf("got %+v", second)
	}
	must(t, open(second.Candidate, trust))
	if after, err := measure(running, nil); err != nil || after != before {
		t.Errorf("what runs has changed: %v", err)
	}
}

func TestInstallVersion(t *testing.T) {
	for _, tc := range []struct{ says, given, want, err string }{
		{"1.2.3", "", "1.2.3", ""},
		{"1.2.3", "1.2.3", "1.2.3", ""},
		{"dev", "0.0.1", "0.0.1", ""},
		{"dev", "", "", "--version X.Y.Z"},
		{"1.2.3-rc1", "", "", `says that its version is "1.2.3-rc1"`},
		{"dev", "v1", "", `"v1" is not a version`},
		{"1.2.3", "1.2.4", "", "says that its version is 1.2.3, not 1.2.4"},
	} {
		dir := hosttest.PrivateDir(t)
		done, err := testTrust(t, TrustLock).Install(t.Context(), Installation{File: build(t, describing("x", tc.says)), Dir: dir, Version: tc.given})
		if tc.err == "" {
			if err != nil || done.Version != tc.want {
				t.Errorf("%+v: got %+v, %v", tc, done, err)
			}
			continue
		}
		if err == nil {
			t.Errorf("%+v: installed", tc)
			continue
		}
		hosttest.MustSay(t, driver.AsError(err), driver.ReasonConfig, tc.err)
		if files := filesIn(t, dir); len(files) != 0 {
			t.Errorf("%+v: left behind %v", tc, files)
		}
	}
}

// TestInstallRefuses: nothing is run that others could have written, nothing is left behind, and
// whatever a program does, it is over in a bounded time.
func TestInstallRefuses(t *testing.T) {
	ran := filepath.Join(t.TempDir(), "ran")
	touch := "#!/bin/sh\n: >" + ran + "\n"
	for name, tc := range map[string]struct {
		text   string
		change func(file, dir string) error
		want   string
	}{
		"file writable":      {touch, func(file, _ string) error { return os.Chmod(file, 0o777) }, "chmod go-w"},
		"directory writable": {touch, func(file, _ string) error { return os.Chmod(filepath.Dir(file), 0o777) }, "chmod go-w"},
		"target writable":    {touch, func(_, dir string) error { return os.Chmod(dir, 0o777) }, "chmod go-w"},
		"not executable":     {touch, func(file, _ string) error { return os.Chmod(file, 0o600) }, "chmod +x"},
		"missing":            {touch, func(file, _ string) error { return os.Remove(file) }, "does not exist"},
		"no driver":          {"#!/bin/sh\necho hello\n", nil, "does not describe itself as a driver"},
		"fails":              {"#!/bin/sh\necho no broker library >&2; exit 3\n", nil, `exit status 3; it said "no broker library"`},
		"wrong format":       {"\x7fELF garbage", nil, "does not describe itself"},
		"bad name":           {describing("../../evil", "1.0.0"), nil, `calls itself "../../evil"`},
		"endless":            {"#!/bin/sh\nexec tr '\\0' x </dev/zero\n", nil, "printed more than 1048576 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, file, trust := hosttest.PrivateDir(t), build(t, tc.text), testTrust(t, TrustLock)
			if tc.change != nil {
				must(t, tc.change(file, dir))
			}
			_, err := trust.Install(t.Context(), Installation{File: file, Dir: dir})
			e, ok := errors.AsType[*driver.Error](err)
			if !ok {
				t.Fatalf("got %v", err)
			}
			hosttest.MustSay(t, e, driver.ReasonConfig, tc.want)
			if files := filesIn(t, dir); len(files) != 0 {
				t.Errorf("left behind %v", files)
			}
			if _, err := os.Lstat(trust.LockFile); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("something was recorded: %v", err)
			}
		})
	}
	if _, err := os.Lstat(ran); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a program was run that is not to be trusted: %v", err)
	}
}

// TestInstallEnds: what a program starts, and a program that hangs, end with the context.
func TestInstallEnds(t *testing.T) {
	started := filepath.Join(hosttest.PrivateDir(t), "started")
	file := build(t, "#!/bin/sh\n: >"+started+"\nsleep 1000 & sleep 1000\n")
	dir := hosttest.PrivateDir(t)
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, err := testTrust(t, TrustLock).Install(ctx, Installation{File: file, Dir: dir})
		ended <- err
	}()
	hosttest.Eventually(t, "the program runs", func() bool { _, err := os.Stat(started); return err == nil })
	cancel()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "does not describe itself") {
		t.Errorf("got %v", err)
	}
	if files := filesIn(t, dir); len(files) != 0 {
		t.Errorf("left behind %v", files)
	}
}

// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/parleymq/parley/plugin/driver"
)

// refusal checks the file and returns the error.
func refusal(t *testing.T, path string) *driver.Error {
	t.Helper()
	err := checkTrust(path)
	e, ok := errors.AsType[*driver.Error](err)
	if !ok {
		t.Fatalf("%s: got %v", path, err)
	}
	return e
}

func TestTrustAccepts(t *testing.T) {
	dir := privateDir(t)
	path := writeProgram(t, dir, "x", anyScript)
	f, err := openTrusted(path)
	must(t, err)
	defer closeAll(f)
	if f.Name() != path {
		t.Errorf("name %q", f.Name())
	}
	if text, err := io.ReadAll(f); err != nil || string(text) != anyScript {
		t.Errorf("read %q, %v", text, err)
	}
}

func TestTrustRefusesModes(t *testing.T) {
	dir := privateDir(t)
	path := writeProgram(t, dir, "x", anyScript)
	for mode, text := range map[os.FileMode]string{
		0o775:                 "chmod go-w " + path,
		0o757:                 "chmod go-w " + path,
		0o644:                 "chmod +x " + path,
		0o755 | os.ModeSetuid: "chmod ug-s " + path,
		0o755 | os.ModeSetgid: "chmod ug-s " + path,
	} {
		must(t, os.Chmod(path, mode))
		mustSay(t, refusal(t, path), driver.ReasonConfig, path, text)
	}
}

func TestTrustRefusesDirectory(t *testing.T) {
	dir := privateDir(t)
	path := writeProgram(t, dir, "x", anyScript)
	for _, mode := range []os.FileMode{0o775, 0o757, 0o777 | os.ModeSticky} {
		must(t, os.Chmod(dir, mode))
		mustSay(t, refusal(t, path), driver.ReasonConfig, "directory "+dir+" may be written", "chmod go-w "+dir)
	}
	// A parent that others may write to, such as /tmp, is fine.
	inner := filepath.Join(dir, "inner")
	must(t, os.Mkdir(inner, 0o755))
	must(t, checkTrust(writeProgram(t, inner, "y", anyScript)))
}

func TestTrustOwners(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT PROVEN: foreign owners, which only root can make")
	}
	dir := privateDir(t)
	path := writeProgram(t, dir, "x", anyScript)
	must(t, os.Chown(path, 12345, 12345))
	mustSay(t, refusal(t, path), driver.ReasonConfig, "belongs to user id 12345", "chown root "+path)
	must(t, os.Chown(path, 0, 0))
	must(t, os.Chown(dir, 12345, 12345))
	mustSay(t, refusal(t, path), driver.ReasonConfig, "directory "+dir+" belongs to", "chown root "+dir)
}

func TestTrustResolvesLinks(t *testing.T) {
	real, shop, open := privateDir(t), privateDir(t), privateDir(t)
	path := writeProgram(t, real, "x", anyScript)
	link := filepath.Join(shop, "parley-driver-x")
	must(t, os.Symlink(path, link))
	f, err := openTrusted(link)
	must(t, err)
	if f.Name() != path {
		t.Errorf("name %q, want %q", f.Name(), path)
	}
	must(t, f.Close())

	// A relative link, through a directory that is a link itself.
	must(t, os.Symlink(real, filepath.Join(shop, "dir")))
	relative := filepath.Join(shop, "parley-driver-y")
	must(t, os.Symlink("dir/../"+filepath.Base(real)+"/parley-driver-x", relative))
	must(t, checkTrust(relative))

	// Anybody could have put this link there.
	loose := filepath.Join(open, "parley-driver-x")
	must(t, os.Symlink(path, loose))
	must(t, os.Chmod(open, 0o777))
	mustSay(t, refusal(t, loose), driver.ReasonConfig, "chmod go-w "+open)
	mustSay(t, refusal(t, chain(t, shop, loose)), driver.ReasonConfig, "chmod go-w "+open)

	loop := filepath.Join(shop, "parley-driver-loop")
	must(t, os.Symlink(loop, loop))
	mustSay(t, refusal(t, loop), driver.ReasonConfig, "too many symbolic links")
	mustSay(t, refusal(t, chain(t, shop, filepath.Join(real, "none"))), driver.ReasonConfig, "does not exist")
}

// chain makes a link in dir to another.
func chain(t *testing.T, dir, to string) string {
	t.Helper()
	link := filepath.Join(dir, "parley-driver-"+filepath.Base(filepath.Dir(to))+filepath.Base(to))
	must(t, os.Symlink(to, link))
	return link
}

func TestTrustRefusesOtherFiles(t *testing.T) {
	dir := privateDir(t)
	pipe := filepath.Join(dir, "parley-driver-pipe")
	must(t, syscall.Mkfifo(pipe, 0o755))
	mustSay(t, refusal(t, pipe), driver.ReasonConfig, "not a regular file") // and does not block
	mustSay(t, refusal(t, dir), driver.ReasonConfig, "not a regular file")
	mustSay(t, refusal(t, filepath.Join(dir, "none")), driver.ReasonConfig, "does not exist")
	mustSay(t, refusal(t, filepath.Join(dir, "none", "none")), driver.ReasonConfig, "does not exist")
}

// A file that is put in the place of the checked one is not the one that runs.
func TestTrustSurvivesSwap(t *testing.T) {
	for _, kind := range []string{"script", "program"} {
		t.Run(kind, func(t *testing.T) {
			dir := privateDir(t)
			path := filepath.Join(dir, "parley-driver-x")
			if kind == "script" {
				must(t, os.WriteFile(path, []byte("#!/bin/sh\nexit 7\n"), 0o755))
			} else {
				must(t, os.Link(mustLookFalse(t), path))
			}
			c := newClient(t, Candidate{Name: "x", Path: path}, nil)
			must(t, os.Remove(path))
			must(t, os.WriteFile(path, []byte("#!/bin/sh\necho evil >&2; exit 66\n"), 0o755))
			err := c.startError(t)
			if s := c.runner.ExitState(); s.Code == 66 || s.Code <= 0 {
				t.Errorf("exit code %d: %v", s.Code, err)
			}
			must(t, c.runner.Kill(context.Background()))
		})
	}
}

// mustLookFalse is a copy of an ELF program that fails at once.
func mustLookFalse(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/bin/false")
	must(t, err)
	path := filepath.Join(privateDir(t), "false")
	must(t, os.WriteFile(path, text, 0o755))
	must(t, os.Chmod(path, 0o755))
	return path
}

func TestShellQuote(t *testing.T) {
	for in, want := range map[string]string{
		"/usr/lib/x_v1.2.3": "/usr/lib/x_v1.2.3",
		"/with space":       "'/with space'",
		"it's":              `'it'\''s'`,
		"":                  "''",
		"$(x)":              "'$(x)'",
	} {
		if got := shellQuote(in); got != want {
			t.Errorf("%q: got %s", in, got)
		}
	}
}

func TestCannotOpen(t *testing.T) {
	e := driver.AsError(cannotOpen("/a b", &os.PathError{Op: "open", Path: "/a b", Err: syscall.EACCES}))
	if !errors.Is(e, os.ErrPermission) || !strings.Contains(e.Error(), "chmod a+rx '/a b'") {
		t.Errorf("got %v", e)
	}
}

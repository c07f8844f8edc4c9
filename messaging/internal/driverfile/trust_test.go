// SPDX-License-Identifier: Apache-2.0

package driverfile

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/parleymq/parley/messaging/internal/hosttest"
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
	dir := hosttest.PrivateDir(t)
	path := hosttest.WriteProgram(t, dir, "x", anyScript)
	f, err := OpenTrusted(path)
	must(t, err)
	t.Cleanup(func() { _ = f.Close() })
	if f.Name() != path {
		t.Errorf("name %q", f.Name())
	}
	if text, err := io.ReadAll(f); err != nil || string(text) != anyScript {
		t.Errorf("read %q, %v", text, err)
	}
}

func TestTrustRefusesModes(t *testing.T) {
	dir := hosttest.PrivateDir(t)
	path := hosttest.WriteProgram(t, dir, "x", anyScript)
	for mode, text := range map[os.FileMode]string{
		0o775:                 "chmod go-w " + path,
		0o757:                 "chmod go-w " + path,
		0o644:                 "chmod +x " + path,
		0o755 | os.ModeSetuid: "chmod ug-s " + path,
		0o755 | os.ModeSetgid: "chmod ug-s " + path,
	} {
		must(t, os.Chmod(path, mode))
		hosttest.MustSay(t, refusal(t, path), driver.ReasonConfig, path, text)
	}
}

func TestTrustRefusesDirectory(t *testing.T) {
	dir := hosttest.PrivateDir(t)
	path := hosttest.WriteProgram(t, dir, "x", anyScript)
	for _, mode := range []os.FileMode{0o775, 0o757, 0o777 | os.ModeSticky} {
		must(t, os.Chmod(dir, mode))
		hosttest.MustSay(t, refusal(t, path), driver.ReasonConfig, "directory "+dir+" may be written", "chmod go-w "+dir)
	}
	// A parent that others may write to, such as /tmp, is fine.
	inner := filepath.Join(dir, "inner")
	must(t, os.Mkdir(inner, 0o755))
	must(t, checkTrust(hosttest.WriteProgram(t, inner, "y", anyScript)))
}

func TestTrustOwners(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT PROVEN: foreign owners, which only root can make")
	}
	dir := hosttest.PrivateDir(t)
	path := hosttest.WriteProgram(t, dir, "x", anyScript)
	must(t, os.Chown(path, 12345, 12345))
	hosttest.MustSay(t, refusal(t, path), driver.ReasonConfig, "belongs to user id 12345", "chown root "+path)
	must(t, os.Chown(path, 0, 0))
	must(t, os.Chown(dir, 12345, 12345))
	hosttest.MustSay(t, refusal(t, path), driver.ReasonConfig, "directory "+dir+" belongs to", "chown root "+dir)
}

func TestTrustResolvesLinks(t *testing.T) {
	real, shop, open := hosttest.PrivateDir(t), hosttest.PrivateDir(t), hosttest.PrivateDir(t)
	path := hosttest.WriteProgram(t, real, "x", anyScript)
	link := filepath.Join(shop, "parley-driver-x")
	must(t, os.Symlink(path, link))
	f, err := OpenTrusted(link)
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
	hosttest.MustSay(t, refusal(t, loose), driver.ReasonConfig, "chmod go-w "+open)
	hosttest.MustSay(t, refusal(t, chain(t, shop, loose)), driver.ReasonConfig, "chmod go-w "+open)

	loop := filepath.Join(shop, "parley-driver-loop")
	must(t, os.Symlink(loop, loop))
	hosttest.MustSay(t, refusal(t, loop), driver.ReasonConfig, "too many symbolic links")
	hosttest.MustSay(t, refusal(t, chain(t, shop, filepath.Join(real, "none"))), driver.ReasonConfig, "does not exist")
}

// chain makes a link in dir to another.
func chain(t *testing.T, dir, to string) string {
	t.Helper()
	link := filepath.Join(dir, "parley-driver-"+filepath.Base(filepath.Dir(to))+filepath.Base(to))
	must(t, os.Symlink(to, link))
	return link
}

func TestTrustRefusesOtherFiles(t *testing.T) {
	dir := hosttest.PrivateDir(t)
	pipe := filepath.Join(dir, "parley-driver-pipe")
	must(t, syscall.Mkfifo(pipe, 0o755))
	hosttest.MustSay(t, refusal(t, pipe), driver.ReasonConfig, "not a regular file") // and does not block
	hosttest.MustSay(t, refusal(t, dir), driver.ReasonConfig, "not a regular file")
	hosttest.MustSay(t, refusal(t, filepath.Join(dir, "none")), driver.ReasonConfig, "does not exist")
	hosttest.MustSay(t, refusal(t, filepath.Join(dir, "none", "none")), driver.ReasonConfig, "does not exist")
}

func TestShellQuote(t *testing.T) {
	for in, want := range map[string]string{
		"/usr/lib/x_v1.2.3": "/usr/lib/x_v1.2.3",
		"/with space":       "'/with space'",
		"it's":              `'it'\''s'`,
		"":                  "''",
		"$(x)":              "'$(x)'",
	} {
		if got := ShellQuote(in); got != want {
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

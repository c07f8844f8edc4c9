// SPDX-License-Identifier: Apache-2.0

package driverproc

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/messaging/internal/hosttest"
	"github.com/parleymq/parley/plugin/driver"
)

func runDirName() string { return "parley-" + itoa(os.Geteuid()) }

func TestRunBaseOrder(t *testing.T) {
	option, parley, systemd, xdg, tmp := hosttest.ShortDir(t), hosttest.ShortDir(t), hosttest.ShortDir(t), hosttest.ShortDir(t), hosttest.ShortDir(t)
	t.Setenv("TMPDIR", tmp)
	all := map[string]string{
		RuntimeDirVariable: parley, "RUNTIME_DIRECTORY": systemd + ":/second", "XDG_RUNTIME_DIR": xdg,
	}
	for _, step := range []struct{ option, want, drop string }{
		{option, option, ""},
		{"", parley, RuntimeDirVariable},
		{"", systemd, "RUNTIME_DIRECTORY"},
		{"", xdg, "XDG_RUNTIME_DIR"},
		{"", tmp, ""},
	} {
		base, err := OpenBase(step.option, hosttest.Env(all))
		must(t, err)
		if base.path != filepath.Join(step.want, runDirName()) {
			t.Errorf("got %s, want it in %s", base.path, step.want)
		}
		info, err := os.Lstat(base.path)
		if err != nil || info.Mode() != os.ModeDir|0o700 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
		delete(all, step.drop)
	}
}

func TestRunBasePassesOver(t *testing.T) {
	tmp := hosttest.ShortDir(t)
	t.Setenv("TMPDIR", tmp)
	loose := hosttest.ShortDir(t)
	must(t, os.Chmod(loose, 0o777))
	for name, dir := range map[string]string{
		"missing":  filepath.Join(tmp, "missing"),
		"too long": longDir(t, tmp),
		"relative": "relative",
		"loose":    loose,
	} {
		base, err := OpenBase("", hosttest.Env(map[string]string{"XDG_RUNTIME_DIR": dir}))
		if err != nil || filepath.Dir(base.path) != tmp {
			t.Errorf("%s: got %+v, %v", name, base, err)
		}
	}
}

func longDir(t *testing.T, in string) string {
	t.Helper()
	dir := filepath.Join(in, strings.Repeat("l", 60))
	must(t, os.MkdirAll(dir, 0o700))
	return dir
}

func TestRunBaseRefusesWhatWasAskedFor(t *testing.T) {
	tmp, loose := hosttest.ShortDir(t), hosttest.ShortDir(t)
	must(t, os.Chmod(loose, 0o777))
	file := filepath.Join(tmp, "file")
	must(t, os.WriteFile(file, nil, 0o600))
	readable := hosttest.ShortDir(t)
	must(t, os.Mkdir(filepath.Join(readable, runDirName()), 0o755))
	must(t, os.Chmod(filepath.Join(readable, runDirName()), 0o755))
	linked := hosttest.ShortDir(t)
	must(t, os.Symlink(tmp, filepath.Join(linked, runDirName())))
	for dir, texts := range map[string][]string{
		longDir(t, tmp): {"bytes too long for a socket's address", "shorter"},
		loose:           {"may be written by others (mode 0777)", "chmod go-w " + loose},
		file:            {"not a directory", RuntimeDirVariable},
		readable:        {"is not a private directory", "mode 0755"},
		linked:          {"is not a private directory"},
	} {
		_, err := OpenBase("", hosttest.Env(map[string]string{RuntimeDirVariable: dir}))
		if err == nil {
			t.Errorf("%s was accepted", dir)
			continue
		}
		hosttest.MustSay(t, driver.AsError(err), driver.ReasonConfig, texts...)
	}
	// One that does not exist is made.
	base, err := OpenBase(filepath.Join(tmp, "new", "one"), hosttest.Env(nil))
	if err != nil || !strings.HasPrefix(base.path, filepath.Join(tmp, "new", "one")) {
		t.Errorf("got %+v, %v", base, err)
	}
}

func TestRunDirLeavesRoomForSocket(t *testing.T) {
	base := testBase(t)
	d, err := base.create()
	must(t, err)
	defer func() { must(t, d.Remove()) }()
	longest := (&Base{path: base.path}).path + "/" + filepath.Base(d.path) + strings.Repeat("s", socketSpace)
	if len(longest) > maxSocketPath {
		t.Errorf("%d bytes: %s", len(longest), longest)
	}
	info, err := os.Stat(d.path)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestSweep(t *testing.T) {
	base := testBase(t)
	live, err := base.create()
	must(t, err)
	named, err := base.CreateNamed(HostPrefix)
	must(t, err)
	put := func(name string, owner any) string {
		dir := filepath.Join(base.path, name)
		must(t, os.MkdirAll(filepath.Join(dir, "plugin-dir1", "deeper"), 0o700))
		if owner != nil {
			text, err := json.Marshal(owner)
			must(t, err)
			must(t, os.WriteFile(filepath.Join(dir, ownerFile), text, 0o600))
		}
		return dir
	}
	me := self()
	reused, rebooted := me, me
	reused.StartTime++
	rebooted.Boot = "another"
	keep := []string{
		live.path,
		named.path,
		put("h-unlocked", me),
		put("d-unlocked", me),   // a file system without locks
		put(".new-fresh", nil),  // one that is being made
		put("not-ours", nil),    // whatever it is
		put("d-", nil) + "file", // made below
	}
	must(t, os.WriteFile(keep[len(keep)-1], nil, 0o600))
	gone := []string{
		put("d-dead", owner{PID: 1 << 30, StartTime: 1, Boot: me.Boot}),
		put("d-reused", reused),
		put("d-rebooted", rebooted),
		put("h-dead", owner{PID: 1 << 30, StartTime: 1, Boot: me.Boot}),
		put("d-damaged", "no owner"),
		put("d-empty", nil),
		put(".new-old", nil),
		filepath.Join(base.path, "d-"),
	}
	old := time.Now().Add(-time.Hour)
	must(t, os.Chtimes(filepath.Join(base.path, ".new-old"), old, old))

	n, err := base.Sweep(context.Background())
	if err != nil || n != len(gone) {
		t.Errorf("swept %d, want %d (%v)", n, len(gone), err)
	}
	for _, path := range keep {
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("%s was removed", path)
		}
	}
	for _, path := range gone {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s is left", path)
		}
	}
	must(t, live.Remove())
	must(t, named.Remove())
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := base.Sweep(ctx); err == nil {
		t.Error("a sweep without time succeeded")
	}
}

func TestProcessStartTime(t *testing.T) {
	if processStartTime(os.Getpid()) == 0 || processStartTime(1<<30) != 0 {
		t.Error("start times are wrong")
	}
}

func TestCreateNamed(t *testing.T) {
	base := testBase(t)
	for _, prefix := range []string{"", "h", "hh-", "-", ".n", "H-", "h-x"} {
		if d, err := base.CreateNamed(prefix); err == nil {
			t.Errorf("%q was accepted", prefix)
			must(t, d.Remove())
		}
	}
	d, err := base.CreateNamed(HostPrefix)
	must(t, err)
	if !strings.HasPrefix(filepath.Base(d.Path()), HostPrefix) || d.guard == nil || len(marked(base)) != 1 {
		t.Errorf("%s is guarded by %v", d.Path(), marked(base))
	}
	must(t, d.Remove())
	if _, err := os.Lstat(d.Path()); err == nil || len(marked(base)) != 0 {
		t.Errorf("it is left, with guard %v", marked(base))
	}
	// What happens when this process is gone.
	d, err = base.CreateNamed(HostPrefix)
	must(t, err)
	must(t, os.Mkdir(filepath.Join(d.Path(), "deeper"), 0o700))
	must(t, d.guard.pipe.Close())
	hosttest.Eventually(t, "the guard has removed it", func() bool {
		_, err := os.Lstat(d.Path())
		return os.IsNotExist(err) && len(marked(base)) == 0
	})
	must(t, d.Remove())
}

// SPDX-License-Identifier: Apache-2.0

package driverfile

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parleymq/parley/messaging/internal/hosttest"
	"github.com/parleymq/parley/plugin/driver"
)

const anyScript = "#!/bin/sh\nexit 0\n"

func TestNewSearchPathOrder(t *testing.T) {
	p := NewSearchPath([]string{"/opt/one", "", "/opt/two"}, hosttest.Env(map[string]string{
		DriverPathVariable: "/env/one::/opt/two:/env/two", "HOME": "/home/me",
	}), "/srv/app/bin/app")
	want := []SearchDir{
		{"/opt/one", "option"},
		{"/opt/two", "option"},
		{"/env/one", "PARLEY_DRIVER_PATH"},
		{"/env/two", "PARLEY_DRIVER_PATH"},
		{"/home/me/.local/share/parley/drivers", "user data"},
		{"/usr/local/lib/parley/drivers", "system"},
		{"/usr/lib/parley/drivers", "system"},
		{"/srv/app/bin", "beside the executable"},
		{"/srv/app/bin/drivers", "beside the executable"},
	}
	if !slices.Equal(p.Dirs, want) {
		t.Errorf("got %+v", p.Dirs)
	}
}

func TestNewSearchPathUserData(t *testing.T) {
	for _, tc := range []struct{ data, home, want string }{
		{"/data", "/home/me", "/data/parley/drivers"},
		{"relative", "/home/me", "/home/me/.local/share/parley/drivers"},
		{"", "", ""},
	} {
		p := NewSearchPath(nil, hosttest.Env(map[string]string{"XDG_DATA_HOME": tc.data, "HOME": tc.home}), "")
		got := ""
		if p.Dirs[0].Origin == "user data" {
			got = p.Dirs[0].Path
		}
		if got != tc.want {
			t.Errorf("%+v: got %q", tc, got)
		}
	}
}

func TestSplitFileName(t *testing.T) {
	for file, want := range map[string]struct {
		name, version string
		ok            bool
	}{
		"parley-driver-rabbit":         {"rabbit", "", true},
		"parley-driver-rabbit_v1.2.3":  {"rabbit", "1.2.3", true},
		"parley-driver-a-2_v0.0.10":    {"a-2", "0.0.10", true},
		"parley-driver-rabbit_v1.2":    {},
		"parley-driver-rabbit_v01.2.3": {},
		"parley-driver-rabbit_v":       {},
		"parley-driver-rabbit_v1.2.-3": {},
		"parley-driver-Rabbit":         {},
		"parley-driver-":               {},
		"parley-driver--x":             {},
		"parley-driver-x.json":         {},
		"parley-driver-x/../y":         {},
		"rabbit":                       {},
	} {
		name, version, ok := splitFileName(file)
		if ok != want.ok || name != want.name || version != want.version {
			t.Errorf("%s: got %q %q %v", file, name, version, ok)
		}
	}
}

func TestCompareVersions(t *testing.T) {
	ordered := []string{"", "0.0.1", "0.2.0", "0.10.0", "1.0.0", "10.0.0"}
	for i := range ordered {
		for j := range ordered {
			got := compareVersions(ordered[i], ordered[j])
			if (got < 0) != (i < j) || (got == 0) != (i == j) {
				t.Errorf("%q and %q: %d", ordered[i], ordered[j], got)
			}
		}
	}
}

// pathOf is a search path of the directories alone.
func pathOf(dirs ...string) SearchPath {
	var p SearchPath
	for _, d := range dirs {
		p.Dirs = append(p.Dirs, SearchDir{Path: d, Origin: "option"})
	}
	return p
}

func TestListJudges(t *testing.T) {
	first, second := hosttest.PrivateDir(t), hosttest.PrivateDir(t)
	plain := hosttest.WriteProgram(t, first, "rabbit", anyScript)
	old := hosttest.WriteProgram(t, first, "rabbit_v1.9.0", anyScript)
	newest := hosttest.WriteProgram(t, first, "rabbit_v1.10.0", anyScript)
	later := hosttest.WriteProgram(t, second, "rabbit_v2.0.0", anyScript)
	fake := hosttest.WriteProgram(t, second, "fake", anyScript)
	open := hosttest.WriteProgram(t, second, "open", anyScript)
	must(t, os.Chmod(open, 0o777))
	misnamed := hosttest.WriteProgram(t, second, "Zmq", anyScript)
	must(t, os.WriteFile(filepath.Join(second, "parley-driver-fake.json"), nil, 0o644))
	must(t, os.Mkdir(filepath.Join(second, "parley-driver-directory"), 0o755))

	got := pathOf(first, filepath.Join(first, "missing"), second).List()
	want := []Candidate{
		{Name: "rabbit", Version: "1.10.0", Path: newest, Status: Chosen},
		{Name: "rabbit", Version: "1.9.0", Path: old, Status: Shadowed, Why: newest},
		{Name: "rabbit", Path: plain, Status: Shadowed, Why: newest},
		{Name: "Zmq", Path: misnamed, Status: Refused},
		{Name: "fake", Path: fake, Status: Chosen},
		{Name: "open", Path: open, Status: Refused},
		{Name: "rabbit", Version: "2.0.0", Path: later, Status: Shadowed, Why: newest},
	}
	if len(got) != len(want) {
		t.Fatalf("got %+v", got)
	}
	for i, w := range want {
		g := got[i]
		if g.Name != w.Name || g.Version != w.Version || g.Path != w.Path || g.Status != w.Status ||
			(w.Status != Refused && g.Why != w.Why) {
			t.Errorf("%d: got %+v\nwant %+v", i, g, w)
		}
	}
	if !strings.Contains(got[5].Why, "chmod go-w "+open) {
		t.Errorf("why: %s", got[5].Why)
	}
}

func TestFind(t *testing.T) {
	dir := hosttest.PrivateDir(t)
	path := hosttest.WriteProgram(t, dir, "rabbit_v1.0.0", anyScript)
	open := hosttest.WriteProgram(t, dir, "open", anyScript)
	must(t, os.Chmod(open, 0o775))
	backup := hosttest.PrivateDir(t)
	hosttest.WriteProgram(t, backup, "open", anyScript)
	missing := filepath.Join(dir, "missing")
	p := pathOf(dir, missing, backup)

	c, err := p.Find("rabbit")
	if err != nil || c.Path != path || c.Version != "1.0.0" || c.Status != Chosen {
		t.Errorf("got %+v, %v", c, err)
	}
	// A refused file does not make room for the same name further down.
	for name, texts := range map[string][]string{
		"open":   {"refused", open, "chmod go-w " + open, "mode 0775"},
		"rabit":  {`no driver "rabit"`, dir + " (option)", missing + " (option, does not exist)", "drivers there: open, rabbit", `did you mean "rabbit"`},
		"amqp":   {`no driver "amqp"`, "rabbit:// for RabbitMQ's AMQP 0-9-1", "qpid:// for AMQP 1.0", "alias"},
		"kafka":  {`no driver "kafka"`, "parley-driver-kafka", DriverPathVariable},
		"../sh":  {"cannot be a driver's name"},
		"Rabbit": {"cannot be a driver's name"},
		"":       {"cannot be a driver's name"},
	} {
		_, err := p.Find(name)
		e, ok := err.(*driver.Error) // the type itself is promised
		if !ok {
			t.Fatalf("%q: got %T %v", name, err, err)
		}
		hosttest.MustSay(t, e, driver.ReasonConfig, texts...)
	}
	if _, err := pathOf().Find("x"); !strings.Contains(err.Error(), "looked in no directory; no driver is there") {
		t.Errorf("got %v", err)
	}
}

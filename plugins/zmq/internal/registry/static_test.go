// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/testkit"
)

func TestParsePeers(t *testing.T) {
	many := "[" + strings.Repeat(`"h",`, maxPeers) + `"h"]`
	for _, tc := range []struct {
		name, text string
		want       []string // nil for an error
	}{
		{name: "object", text: `{"peers": ["tcp://h1:9501", "tcp://h2:7"]}`, want: []string{"tcp://h1:9501", "tcp://h2:7"}},
		{name: "objects", text: `{"peers": [{"endpoint": "tcp://h1:1", "name": "x"}, "ipc:///s"]}`, want: []string{"tcp://h1:1", "ipc:///s"}},
		{name: "bare", text: ` ["h1", "[::1]:5", "h1"] `, want: []string{"tcp://h1:9501", "tcp://[::1]:5"}},
		{name: "nobody", text: `{"peers": []}`, want: []string{}},
		{name: "nobody, bare", text: `[]`, want: []string{}},
		{name: "ring", text: `{"scheduler": ["h2", "h1"], "compute": ["h1", "h3:7"]}`, want: []string{"tcp://h1:9501", "tcp://h3:7", "tcp://h2:9501"}},
		{name: "ring with that topic", text: `{"peers": ["h2"], "a": ["h1"]}`, want: []string{"tcp://h1:9501", "tcp://h2:9501"}},
		{name: "empty", text: ""},
		{name: "half", text: `{"peers": ["tcp://h1:95`},
		{name: "half a list", text: `["h1",`},
		{name: "two values", text: `["h1"]["h2"]`},
		{name: "null", text: `null`},
		{name: "null peer", text: `[null]`},
		{name: "number", text: `7`},
		{name: "unknown key", text: `{"peers": ["h"], "port": 7}`},
		{name: "unknown key of a peer", text: `[{"endpoint": "h", "port": 7}]`},
		{name: "wrong type", text: `{"peers": "h"}`},
		{name: "bad endpoint", text: `["udp://h:1"]`},
		{name: "too many", text: many},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := parsePeers([]byte(tc.text))
			if (err == nil) != (tc.want != nil) || !slices.Equal(got, tc.want) {
				t.Errorf("got %v, %v, want %v", got, err, tc.want)
			}
		})
	}
}

func addresses(want ...string) func(*View) bool {
	return func(v *View) bool { return len(v.Records) == 0 && slices.Equal(v.Addresses, want) }
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestStatic(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "peers.json")
	write(t, file, `["h1"]`)
	o := Options{Variant: "static", Path: file, HasPath: true}
	r := open(t, o)
	if !addresses("tcp://h1:9501")(r.View()) {
		t.Fatalf("the view is %v, %v", r.View().Addresses, r.Health())
	}
	publish(t, r, record(1))

	write(t, file, `["h2"]`)
	waitView(t, r, "a change is seen", addresses("tcp://h2:9501"))
	write(t, file, `["h3"`)
	eventually(t, "a half written file is not healthy", func() bool { return r.Health() != nil })
	e := testkit.Failure(t, r.Health(), driver.ReasonNotConnected)
	if !strings.Contains(e.Message, file) || e.Hint == "" {
		t.Errorf("the error is %v", e)
	}
	if !addresses("tcp://h2:9501")(r.View()) {
		t.Errorf("half a file changed the view: %v", r.View().Addresses)
	}
	write(t, file, `["h3"]`)
	waitView(t, r, "the other half is seen", addresses("tcp://h3:9501"))
	eventually(t, "it is healthy again", func() bool { return r.Health() == nil })

	// Replaced by another file of that name, as an editor does, and by one behind a link.
	write(t, file+".new", `["h4"]`)
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
	waitView(t, r, "a replaced file is seen", addresses("tcp://h4:9501"))
	write(t, filepath.Join(dir, ".data"), `["h5"]`)
	if err := os.Symlink(".data", file+".link"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".link", file); err != nil {
		t.Fatal(err)
	}
	waitView(t, r, "a linked file is seen", addresses("tcp://h5:9501"))

	for range 50 { // within one step of file times, and of the same size
		write(t, file, `["h6"]`)
		refresh(t, r)
		write(t, file, `["h7"]`)
		refresh(t, r)
		if !addresses("tcp://h7:9501")(r.View()) {
			t.Fatalf("Refresh did not see the change: %v", r.View().Addresses)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a missing file is not healthy", func() bool { return r.Health() != nil })
	if err := syscall.Mkfifo(file, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.Refresh(soon(t)); err == nil {
		t.Error("a FIFO is a file of peers")
	}
	if !addresses("tcp://h7:9501")(r.View()) {
		t.Errorf("the view is %v", r.View().Addresses)
	}
}

func TestStaticRefused(t *testing.T) {
	dir := t.TempDir()
	for _, o := range []Options{
		{},
		{Path: "/", HasPath: true},
		{Path: dir, HasPath: true},
		{Hosts: []driver.Host{{Name: "h1", Port: 9501}}},
		{Hosts: []driver.Host{{Name: "h1"}, {Name: "h2"}}},
	} {
		o.Variant = "static"
		_, err := Open(o)
		if e := testkit.Failure(t, err, driver.ReasonConfig); e.Hint == "" {
			t.Error("no hint")
		}
	}
	t.Chdir(dir)
	write(t, "peers.json", `["h1"]`)
	r := open(t, Options{Variant: "static", Hosts: []driver.Host{{Name: "peers.json"}}})
	if !addresses("tcp://h1:9501")(r.View()) {
		t.Errorf("the view is %v, %v", r.View().Addresses, r.Health())
	}
	if r := open(t, Options{Variant: "static", Path: dir + "/later", HasPath: true}); r.Health() == nil {
		t.Error("a missing file is healthy")
	}
}

func FuzzParsePeers(f *testing.F) {
	for _, text := range []string{`{"peers": ["tcp://h1:9501", {"endpoint": "h", "name": "x"}]}`, `["[::1]:5"]`, `{"topic": ["h"]}`, `null`, `[null]`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := parsePeers(text)
		if err != nil {
			return
		}
		for _, endpoint := range got {
			if again, err := parseEndpoint(endpoint, 0); err != nil || again != endpoint {
				t.Errorf("%q became %q, which is read as %q, %v", text, endpoint, again, err)
			}
		}
	})
}

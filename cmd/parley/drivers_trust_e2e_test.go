// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/parleymq/parley/internal/version"
	"github.com/parleymq/parley/messaging"
)

// TestDriverTrust has a driver's file change, and be accepted and installed, by the command line.
func TestDriverTrust(t *testing.T) {
	p := build(t, "fake")
	file := filepath.Join(p.drivers, "parley-driver-fake")

	if f := p.trustOf(t, file); f.Trust != "new" || f.TrustWhy != "" || f.Recorded != "" {
		t.Errorf("got %+v", f)
	}
	if got := p.run(t, "drivers", "show", "fake"); got.status != exitDone {
		t.Fatalf("got %+v", got)
	}
	used := p.trustOf(t, file)
	if used.Trust != "recorded" || used.Checksum != used.Recorded || !strings.HasPrefix(used.Checksum, "sha256:") {
		t.Errorf("got %+v", used)
	}
	t.Run("changed", func(t *testing.T) { testChangedDriver(t, p, used) })
	t.Run("required", func(t *testing.T) { testRequiredChecksum(t, p, file) })
	t.Run("accept", func(t *testing.T) { testAccept(t, p, file) })
	t.Run("install", func(t *testing.T) { testInstall(t, p, file) })
}

// trustOf lists the drivers and returns what is said of a file.
func (p *program) trustOf(t *testing.T, file string, args ...string) messaging.DriverFile {
	t.Helper()
	got := p.run(t, append([]string{"drivers", "list", "-o", "json"}, args...)...)
	var files []messaging.DriverFile
	if err := json.Unmarshal([]byte(got.stdout), &files); err != nil {
		t.Fatalf("got %+v, %v", got, err)
	}
	for _, f := range files {
		if f.Path == file {
			return f
		}
	}
	t.Fatalf("%s is not in %+v", file, files)
	return messaging.DriverFile{}
}

// paste runs a command as a person pastes it, and returns what it prints.
func (p *program) paste(t *testing.T, command string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", command)
	cmd.Env = append(slices.Clone(p.env), "PATH="+filepath.Dir(p.path)+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", command, err, out)
	}
	return string(out)
}

func testChangedDriver(t *testing.T, p *program, used messaging.DriverFile) {
	text, err := os.ReadFile(used.Path)
	aside := used.Path + "~"
	// What follows a program is not executed.
	if err := errors.Join(err, os.WriteFile(aside, append(text, "changed"...), 0o700), os.Rename(aside, used.Path)); err != nil {
		t.Fatal(err)
	}
	changed := p.trustOf(t, used.Path)
	if changed.Trust != "changed" || changed.Recorded != used.Checksum || changed.Checksum == used.Checksum {
		t.Errorf("got %+v", changed)
	}
	command := "parley drivers accept --driver-path " + p.drivers + " fake"
	want := regexp.MustCompile(`^parley: (open fake|describe driver): driver fake is refused: file ` + regexp.QuoteMeta(used.Path) +
		` has changed: its checksum is ` + regexp.QuoteMeta(changed.Checksum[:19]) + `…, and ` + regexp.QuoteMeta(used.Checksum[:19]) +
		`… was recorded on \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \(first use by parley\)
  hint: if the new one is to be trusted, run: ` + regexp.QuoteMeta(command) + "\n$")
	for _, args := range [][]string{
		{"drivers", "show", "fake"},
		{"call", "--url", "fake://", "--topic", "t", "x"},
		{"call", "--url", "fake://", "--topic", "t", "x", "--trust", "require"},
	} {
		got := p.run(t, args...)
		if got.status != exitUnavailable || got.stdout != "" || !want.MatchString(got.stderr) {
			t.Errorf("%v: got %+v", args, got)
		}
	}
	if list := p.run(t, "drivers"); !strings.Contains(list.stdout, changed.TrustWhy) || !strings.Contains(changed.TrustWhy, command) {
		t.Errorf("got %+v", list)
	}
	if got := p.run(t, "drivers", "show", "fake", "--trust", "off"); got.status != exitDone {
		t.Errorf("got %+v", got)
	}
	wantText := fmt.Sprintf("fake: %s\n    recorded %s\n    before   %s\n", used.Path, changed.Checksum, used.Checksum)
	if got := p.paste(t, command); got != wantText {
		t.Errorf("got %q, want %q", got, wantText)
	}
	if got := p.run(t, "drivers", "show", "fake"); got.status != exitDone {
		t.Errorf("got %+v", got)
	}
}

func testRequiredChecksum(t *testing.T, p *program, file string) {
	lock := filepath.Join(t.TempDir(), "new", "parley.lock")
	args := []string{"drivers", "show", "fake", "--trust", "require", "--lock-file", lock, "-o", "json"}
	got := p.run(t, args...)
	f := failureOf(t, got)
	command := "parley drivers accept --lock-file " + lock + " --driver-path " + p.drivers + " fake"
	if got.status != exitUnavailable || !strings.Contains(f.Message, "of file "+file+" is not recorded in "+lock) ||
		f.Hint != "if it is to be trusted, run: "+command {
		t.Errorf("got %+v", got)
	}
	p.paste(t, command)
	if got := p.run(t, args...); got.status != exitDone {
		t.Errorf("got %+v", got)
	}
}

func testAccept(t *testing.T, p *program, file string) {
	var done []messaging.DriverFile
	got := p.run(t, "drivers", "accept", "--all", "-o", "json")
	if err := json.Unmarshal([]byte(got.stdout), &done); err != nil || len(done) != 1 || done[0].Path != file || done[0].Recorded != done[0].Checksum {
		t.Errorf("got %+v, %v", got, err)
	}
	p.expect(t, exitDone, fmt.Sprintf("fake: %s\n    as it was recorded: %s\n", file, done[0].Checksum), "drivers", "accept", file)
	for _, test := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"nope"}, exitUsage, `no driver \"nope\" found`},
		{[]string{"./parley-driver-nope"}, exitUsage, "does not exist"},
		{[]string{"/bin/sh"}, exitUsage, "not a driver's file name"},
		{[]string{"nope", "--all"}, exitUnavailable, "no file is found that could be accepted"},
		{nil, exitUsage, "the driver's name or file is missing"},
	} {
		got := p.run(t, append([]string{"drivers", "accept", "-o", "json"}, test.args...)...)
		if got.status != test.status || got.stdout != "" || !strings.Contains(got.stderr, test.want) {
			t.Errorf("%v: got %+v, want status %d and %q", test.args, got, test.status, test.want)
		}
	}
}

func testInstall(t *testing.T, p *program, file string) {
	home := filepath.Dir(p.drivers)
	installed := filepath.Join(home, ".local/share/parley/drivers/parley-driver-fake_v"+version.Number)
	got := p.run(t, "drivers", "install", file)
	sum := p.trustOf(t, installed)
	want := fmt.Sprintf("fake %s: %s\n    recorded %s\n", version.Number, installed, sum.Checksum)
	if got.status != exitDone || got.stdout != want || !strings.Contains(got.stderr, "for fake, "+file+" is used: it comes first") {
		t.Errorf("got %+v, want %q", got, want)
	}
	if sum.Trust != "recorded" || sum.Status != statusShadowed {
		t.Errorf("got %+v", sum)
	}
	// A second version, in a directory of its own; the first one is not in it.
	shop := filepath.Join(t.TempDir(), "shop")
	old := filepath.Join(shop, "parley-driver-fake_v0.0.1")
	text, err := os.ReadFile(file)
	if err := errors.Join(err, os.Mkdir(shop, 0o700), os.WriteFile(old, text, 0o700)); err != nil {
		t.Fatal(err)
	}
	got = p.run(t, "drivers", "install", file, "--dir", shop)
	if got.status != exitDone || !strings.HasSuffix(got.stdout, "    "+old+" stays\n") || !strings.Contains(got.stderr, shop+" is not searched for drivers") &&
		!strings.Contains(got.stderr, "it comes first") {
		t.Errorf("got %+v", got)
	}
	if f := p.trustOf(t, old, "--driver-path", shop, "--pin", "fake=0.0.1"); f.Status != statusChosen {
		t.Errorf("got %+v", f)
	}
	got = p.run(t, "drivers", "install", file, "--version", "9.9.9")
	if got.status != exitUsage || !strings.Contains(got.stderr, "says that its version is "+version.Number+", not 9.9.9\n  hint: leave out --version") {
		t.Errorf("got %+v", got)
	}
}

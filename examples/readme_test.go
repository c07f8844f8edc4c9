// SPDX-License-Identifier: Apache-2.0

// Package examples_test keeps the README's code true: it is part of programs that are built
// and run here.
package examples_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/testprogram"
)

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestReadmeCodeIsPartOfTheExamples(t *testing.T) {
	programs := read(t, "quickstart/main.go") + read(t, "driver/main.go") + read(t, "notifications/compute.go") + read(t, "notifications/billing.go")
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(read(t, "../README.md"), -1)
	if len(blocks) < 3 {
		t.Fatalf("only %d blocks of Go in the README", len(blocks))
	}
	for _, b := range blocks {
		if !strings.Contains(programs, b[1]) {
			t.Errorf("not in the examples:\n%s", b[1])
		}
	}
}

// build compiles a package into dir.
func build(t *testing.T, dir, name, pkg string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	t.Setenv("PARLEY_LOCK_FILE", filepath.Join(dir, "parley.lock")) // not the user's
	if err := testprogram.Build(t.Context(), path, pkg); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestQuickstartRunsAsTheReadmeSays(t *testing.T) {
	dir := t.TempDir()
	build(t, dir, "parley-driver-fake", "plugins/fake")
	cmd := exec.Command(build(t, dir, "quickstart", "examples/quickstart"))
	cmd.Env = append(os.Environ(), "PARLEY_DRIVER_PATH="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil || string(out) != "hello world <nil>\n" {
		t.Errorf("%v: %s", err, out)
	}
}

// TestDriverExampleSends casts through the driver of the README with the command line.
func TestDriverExampleSends(t *testing.T) {
	dir := t.TempDir()
	build(t, dir, "parley-driver-log", "examples/driver")
	parley := build(t, dir, "parley", "cmd/parley")
	cmd := exec.Command(parley, "cast", "--driver-path", dir, "--url", "log://", "--topic", "t", "--log-level", "info", "m", "a=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "kind=cast") || !strings.Contains(string(out), "topic=t") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestDemoRuns believes the demo: it ends well only when all that it promises was seen.
func TestDemoRuns(t *testing.T) {
	dir := t.TempDir()
	build(t, dir, "parley-driver-zmq", "plugins/zmq")
	demo := build(t, dir, "demo", "examples/demo")
	begin := time.Now()
	out, err := exec.Command(demo, "-driver-path", dir).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "all promises were kept") {
		t.Errorf("%v: %s", err, out)
	}
	if took := time.Since(begin); took > time.Minute {
		t.Errorf("a newcomer waits %v for the demo", took)
	}
}

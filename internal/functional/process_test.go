// SPDX-License-Identifier: Apache-2.0

package functional

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

// lonely is a world on the fake driver with a directory for sockets, and a bed that looks for its
// processes there.
func lonely(t *testing.T) (*world, *testbed.Bed) {
	t.Helper()
	own := &testbed.Bed{Drivers: privateDir(t), Runtime: privateDir(t)}
	file := filepath.Join(own.Drivers, "parley-driver-fake")
	if err := os.Link(filepath.Join(bed.Bin, "parley-driver-fake"), file); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, "fake", "fake:///lonely")
	w.host = messaging.NewHost(&messaging.HostOptions{
		DriverPath: []string{own.Drivers}, RuntimeDir: own.Runtime, Logger: w.logs.Logger(),
		LockFile: filepath.Join(privateDir(t), "parley.lock"),
	})
	return w, own
}

// privateDir has a short path, for a socket's address has little room.
func privateDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "pl")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func echoes(ctx context.Context, tr *messaging.Transport, word string) bool {
	got, err := echoWord.Call(ctx, client(tr, messaging.Target{Topic: "lonely"}), saying{Word: word})
	return err == nil && got == word
}

type saying struct {
	Word string `json:"word"`
}

var echoWord = messaging.Method[saying, string]{Name: "echo"}

func (w *world) openEcho(t *testing.T) *messaging.Transport {
	t.Helper()
	tr := w.open(t, messaging.Options{})
	ep := messaging.NewEndpoint(nil)
	echoWord.Handle(ep, func(_ context.Context, in saying) (string, error) { return in.Word, nil })
	serve(t, tr, messaging.Target{Topic: "lonely", Server: "one"}, nil, ep)
	return tr
}

// TestTempCleaner: sockets in a directory for temporary files get deleted under a program that
// lives long. The driver is reached by what is open, and the next one makes a directory anew.
func TestTempCleaner(t *testing.T) {
	w, own := lonely(t)
	tr := w.openEcho(t)
	if !echoes(soon(t), tr, "before") {
		t.Fatal("the first call is not answered")
	}
	pid := own.DriverOf(os.Getpid())
	removed := own.Left() // the process, and every file and directory
	if len(removed) < 3 {
		t.Fatalf("there is nothing to remove: %v", removed)
	}
	for _, path := range removed {
		if filepath.IsAbs(path) {
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !echoes(soon(t), tr, "after") || !echoes(soon(t), w.open(t, messaging.Options{}), "by another transport") {
		t.Error("a call is not answered without the socket's file")
	}
	if got := own.DriverOf(os.Getpid()); got != pid {
		t.Errorf("the process changed from %d to %d", pid, got)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	testbed.Eventually(t, patience, "the next process answers", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		return echoes(ctx, tr, "anew") && own.DriverOf(os.Getpid()) != pid
	})
}

// TestInterrupt: Ctrl-C is for the application. The driver is not in its process group, and does
// not end by the signal either.
func TestInterrupt(t *testing.T) {
	w, own := lonely(t)
	tr := w.openEcho(t)
	if !echoes(soon(t), tr, "before") {
		t.Fatal("the first call is not answered")
	}
	pid := own.DriverOf(os.Getpid())
	if group, err := syscall.Getpgid(pid); err != nil || group != pid {
		t.Errorf("the driver %d is in group %d, %v", pid, group, err)
	}
	if err := syscall.Kill(-pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if !echoes(soon(t), tr, "after") {
			t.Fatal("a call is not answered after the signal")
		}
	}
	if got := own.DriverOf(os.Getpid()); got != pid {
		t.Errorf("the process changed from %d to %d", pid, got)
	}
}

// TestNothingRunsToBeKnown: what is asked of drivers without opening them is answered from files.
func TestNothingRunsToBeKnown(t *testing.T) {
	dir := privateDir(t)
	ran := filepath.Join(dir, "ran")
	for name, text := range map[string]string{
		"parley-driver-other":      "#!/bin/sh\n: >" + ran + "\nexit 1\n",
		"parley-driver-other.json": `{"name": "other", "version": "1.2.3", "summary": "s", "aliases": ["another"], "capabilities": [], "options": []}`,
	} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	w, _ := lonely(t)
	w.host = messaging.NewHost(&messaging.HostOptions{
		DriverPath: []string{dir}, RuntimeDir: privateDir(t), Logger: w.logs.Logger(), LockFile: filepath.Join(privateDir(t), "parley.lock"),
	})
	listed := false
	for _, f := range w.host.Drivers() {
		listed = listed || f.Name == "other" && f.Path == filepath.Join(dir, "parley-driver-other")
	}
	if !listed {
		t.Errorf("the driver is not listed: %+v", w.host.Drivers())
	}
	o := &messaging.Options{Host: w.host, Logger: w.logs.Logger()}
	if _, err := messaging.Open(soon(t), "othr://", o); err == nil || !strings.Contains(err.Error(), "other") || !strings.Contains(err.Error(), dir) {
		t.Errorf("the error names neither what is near nor where was searched: %v", err)
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("the driver was started to be known")
	}
	if _, err := messaging.Open(soon(t), "another://", o); err == nil {
		t.Error("a driver that exits was opened")
	}
	if _, err := os.Stat(ran); err != nil {
		t.Errorf("the alias of the manifest did not start the driver, so the test proves nothing: %v", err)
	}
}

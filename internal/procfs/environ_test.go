// SPDX-License-Identifier: Apache-2.0

//go:build linux

package procfs

import (
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"
)

func TestReadEnviron(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	cmd.Env = []string{"FIRST=1", "AT=a=b", "EMPTY="}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	// The kernel fills it in a moment after the program was replaced.
	var e Environ
	for limit := time.Now().Add(10 * time.Second); len(e) == 0 && time.Now().Before(limit); {
		e = ReadEnviron(pid)
	}
	for name, want := range map[string]string{"FIRST": "1", "AT": "a=b", "EMPTY": "", "IRST": "", "NONE": ""} {
		if got := e.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if !slices.Contains(Pids(), pid) || Threads(pid) != 1 || Tracer(pid) != 0 {
		t.Errorf("process %d: %d threads, tracer %d", pid, Threads(pid), Tracer(pid))
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if e := ReadEnviron(pid); len(e) > 0 || Threads(pid) != 0 {
		t.Errorf("a process that has ended has %d bytes and %d threads", len(e), Threads(pid))
	}
	if Tracer(os.Getpid()) != 0 {
		t.Log("this test is traced")
	}
}

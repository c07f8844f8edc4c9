// SPDX-License-Identifier: Apache-2.0

package driverproc

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// traceFor attaches a process of its own, as a debugger is, to pid while do runs.
func traceFor(t *testing.T, pid int, do func()) {
	t.Helper()
	tracer := exec.Command(os.Args[0])
	tracer.Env = append(os.Environ(), roleVariable+"=tracer", "TEST_PID="+itoa(pid))
	tracer.Stderr = os.Stderr
	in, err := tracer.StdinPipe()
	must(t, err)
	out, err := tracer.StdoutPipe()
	must(t, err)
	must(t, tracer.Start())
	said, err := bufio.NewReader(out).ReadString('\n')
	if err == nil && strings.TrimSpace(said) == "attached" {
		do()
	}
	must(t, in.Close())
	must(t, tracer.Wait())
	if strings.TrimSpace(said) != "attached" {
		t.Skipf("NOT PROVEN: a tracer is seen: %q, %v", said, err)
	}
}

// actAsTracer attaches to a process, says so, and lets go at the end of its input.
func actAsTracer() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pid, err := strconv.Atoi(os.Getenv("TEST_PID"))
	fail(err)
	said := "attached"
	if err := unix.PtraceSeize(pid); err != nil {
		said = err.Error()
	}
	_, err = os.Stdout.WriteString(said + "\n")
	fail(err)
	_, err = io.Copy(io.Discard, os.Stdin)
	fail(err)
}

// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// tracedVariable makes this program a debugger of the process it names, until its standard
// input ends.
const tracedVariable = "PARLEY_TEST_TRACE"

// trace is the debugger. It prints one line when it is attached.
func trace(text string) error {
	runtime.LockOSThread() // the tracer is a thread
	pid, err := strconv.Atoi(text)
	if err != nil {
		return err
	}
	if err := syscall.PtraceAttach(pid); err != nil {
		return err
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, unix.WALL, nil); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(os.Stdout, "attached"); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	return syscall.PtraceDetach(pid)
}

// TraceForTest attaches a debugger to a process, until detach is called.
func TraceForTest(t *testing.T, pid int) (detach func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), tracedVariable+"="+strconv.Itoa(pid))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	detach = func() {
		_ = stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("detach: %v", err)
		}
	}
	if line, _ := bufio.NewReader(stdout).ReadString('\n'); line != "attached\n" {
		_ = stdin.Close()
		t.Skipf("NOT PROVEN: a process may not be traced here: %v", cmd.Wait())
	}
	return detach
}

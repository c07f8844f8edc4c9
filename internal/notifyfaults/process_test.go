// SPDX-License-Identifier: Apache-2.0

package notifyfaults

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/testbed"
)

// app is an application that runs, or has run.
type app struct {
	settings
	id      string // its name and which of that name it is
	said    string // its last words
	killed  bool
	proxied bool

	cmd    *exec.Cmd
	stdin  io.WriteCloser
	lines  chan string
	errors *output
	exited chan struct{}
}

// output keeps what a process printed.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// start starts an application and does not wait for it.
func start(t *testing.T, s settings, id, runtime string) *app {
	t.Helper()
	text, err := json.Marshal(s)
	must(t, err)
	a := &app{settings: s, id: id, lines: make(chan string, 1), errors: &output{}, exited: make(chan struct{})}
	a.cmd = exec.Command(os.Args[0])
	a.cmd.Env = append(os.Environ(), appVariable+"="+string(text), "TMPDIR="+runtime)
	a.cmd.Stderr = a.errors
	a.stdin, err = a.cmd.StdinPipe()
	must(t, err)
	stdout, err := a.cmd.StdoutPipe()
	must(t, err)
	must(t, a.cmd.Start())
	go func() {
		for in := bufio.NewScanner(stdout); in.Scan(); {
			a.lines <- in.Text()
		}
		_ = a.cmd.Wait()
		close(a.exited)
	}()
	t.Cleanup(a.kill) // when the test failed before
	return a
}

// await waits for a line.
func (a *app) await(limit time.Duration) (string, error) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case text := <-a.lines:
		if err, bad := strings.CutPrefix(text, "error "); bad {
			return "", fmt.Errorf("%s: %s", a.id, err)
		}
		return text, nil
	case <-a.exited:
		return "", fmt.Errorf("%s has ended: %s", a.id, a.errors)
	case <-timer.C:
		return "", fmt.Errorf("%s does not answer within %v: %s", a.id, limit, a.errors)
	}
}

// do tells the application to do something, and returns its answer.
func (a *app) do(command string) (string, error) {
	if _, err := fmt.Fprintln(a.stdin, command); err != nil {
		return "", fmt.Errorf("%s: %s: %w: %s", a.id, command, err, a.errors)
	}
	return a.await(startTimeout)
}

// driver is the process of the application's driver.
func (a *app) driver() (int, error) {
	var pid int
	var failed error
	testbed.Wait(startTimeout, func() bool {
		var text string
		if text, failed = a.do("driver"); failed == nil {
			pid, failed = strconv.Atoi(text)
		}
		return failed != nil || pid != 0
	})
	if failed == nil && pid == 0 {
		failed = fmt.Errorf("%s has no driver", a.id)
	}
	return pid, failed
}

// signalDriver sends a signal to the driver and returns its process.
func (a *app) signalDriver(sig syscall.Signal) (int, error) {
	pid, err := a.driver()
	if err == nil {
		err = syscall.Kill(pid, sig)
	}
	return pid, err
}

// kill ends the application as a crash would, and waits for the end.
func (a *app) kill() {
	if a.hasExited() {
		return
	}
	a.killed = true
	_ = a.cmd.Process.Kill()
	<-a.exited
}

// killWithDriver is kill, and waits until the driver has ended too.
func (a *app) killWithDriver() error {
	pid, err := a.driver()
	if err != nil {
		return err
	}
	a.kill()
	if !testbed.Wait(endTimeout, func() bool { return !bed.Running(pid) }) {
		return fmt.Errorf("the driver of %s lives on", a.id)
	}
	return nil
}

// stop ends it in an orderly way, within the limit.
func (a *app) stop(limit time.Duration) error {
	if _, err := fmt.Fprintln(a.stdin, "stop"); err != nil {
		return fmt.Errorf("%s: stop: %w: %s", a.id, err, a.errors)
	}
	said, err := a.await(limit)
	if err != nil {
		return err
	}
	a.said = said
	timer := time.NewTimer(endTimeout)
	defer timer.Stop()
	select {
	case <-a.exited:
		return nil
	case <-timer.C:
		return fmt.Errorf("%s does not end", a.id)
	}
}

func (a *app) hasExited() bool {
	select {
	case <-a.exited:
		return true
	default:
		return false
	}
}

// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"
)

// These bound what an [App] does on a busy machine.
const (
	// answerTimeout bounds the wait for an answer, and for a driver.
	answerTimeout = time.Minute
	// exitTimeout bounds the end of an App, and of its driver.
	exitTimeout = 20 * time.Second
)

// App is an application in a process of its own, with a driver that it started: the program that
// a test starts, tells what to do, kills and looks at. Its methods are for one goroutine, but for
// PID, Printed and HasExited.
type App struct {
	name    string
	drivers string
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	log     *Logs
	serial  int // of the last order
	killed  bool
	answers chan answer
	exited  chan struct{} // closed when it was reaped
	err     error         // of its end; read after exited
}

// AppOptions say what an App is.
type AppOptions struct {
	// Name is in errors.
	Name string
	// Program is its file. By default it is the test program itself, whose TestMain calls
	// [ActAsApp] first.
	Program string
	// Settings are the first line of its input, as JSON: neither in its arguments nor in its
	// environment, for a URL has a password.
	Settings any
	// Env is added to the environment of the test.
	Env []string
	// Drivers is the directory of drivers where its own one is from: that of the [Bed].
	Drivers string
	// OnLine, when not nil, is given each line that it prints, in order, in a goroutine of the
	// App. A program with it has no orders: Await and Do are not for it.
	OnLine func(line []byte)
}

// An order is a line of an App's input, after its settings; an answer is one of its output. That it
// is ready is the answer to no order.
type (
	order struct {
		N   int             `json:"n"`
		Do  string          `json:"do"`
		Arg json.RawMessage `json:"arg,omitempty"`
	}
	answer struct {
		N     int             `json:"n"`
		Said  json.RawMessage `json:"said,omitempty"`
		Error string          `json:"error,omitempty"`
	}
)

// StartApp starts an application and does not wait for it. It is killed at the end of the test,
// when it runs still.
func StartApp(tb testing.TB, o AppOptions) *App {
	tb.Helper()
	a := &App{name: o.Name, drivers: o.Drivers, log: NewLogs(tb), answers: make(chan answer, 16), exited: make(chan struct{})}
	if err := a.start(o); err != nil {
		tb.Fatalf("start %s: %v", o.Name, err)
	}
	tb.Cleanup(a.Kill)
	return a
}

func (a *App) start(o AppOptions) error {
	settings, err := json.Marshal(o.Settings)
	if err != nil {
		return err
	}
	env := os.Environ()
	if o.Program == "" {
		o.Program, env = os.Args[0], append(env, appVariable+"=1")
	}
	a.cmd = exec.Command(o.Program) //nolint:gosec,noctx // the test's own; it is ended by Kill
	a.cmd.Env = slices.Concat(env, o.Env)
	a.cmd.Stderr = a.log
	stdout, err := a.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if a.stdin, err = a.cmd.StdinPipe(); err != nil {
		return err
	}
	if err := a.cmd.Start(); err != nil {
		return err
	}
	onLine := o.OnLine
	if onLine == nil {
		onLine = a.onAnswer
	}
	go func() {
		defer close(a.exited)
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			onLine(lines.Bytes())
		}
		_, _ = io.Copy(io.Discard, stdout) // after a line that is too long
		a.err = errors.Join(lines.Err(), a.cmd.Wait())
	}()
	// One that ended at once is found by whoever waits for it, with what it printed.
	if _, err := a.stdin.Write(append(settings, '\n')); err != nil && !errors.Is(err, syscall.EPIPE) {
		return errors.Join(err, a.cmd.Process.Kill())
	}
	return nil
}

// onAnswer takes a line of an App that has orders. What is none goes to the log.
func (a *App) onAnswer(line []byte) {
	var one answer
	if err := json.Unmarshal(line, &one); err != nil {
		a.log.Printf("%s", line)
		return
	}
	select {
	case a.answers <- one:
	default:
		a.log.Printf("nobody waits for the answer %s", line)
	}
}

// PID is its process.
func (a *App) PID() int { return a.cmd.Process.Pid }

// Printed is what it printed, its answers left out.
func (a *App) Printed() string { return a.log.String() }

// Killed says that it was ended as a crash would.
func (a *App) Killed() bool { return a.killed }

// HasExited reports whether it has ended.
func (a *App) HasExited() bool {
	select {
	case <-a.exited:
		return true
	default:
		return false
	}
}

// Await waits until it is ready for orders.
func (a *App) Await(limit time.Duration) error { return a.await(0, nil, limit) }

func (a *App) await(n int, said any, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		select {
		case one := <-a.answers:
			if one.N == n { // nobody waits for another one any more
				return a.take(one, said)
			}
		case <-a.exited:
			return a.takeLast(n, said)
		case <-timer.C:
			return fmt.Errorf("%s does not answer within %v: %s", a.name, limit, a.log)
		}
	}
}

// takeLast is take for one that has ended, before or after it answered.
func (a *App) takeLast(n int, said any) error {
	for {
		select {
		case one := <-a.answers:
			if one.N == n {
				return a.take(one, said)
			}
		default:
			return fmt.Errorf("%s has ended: %w: %s", a.name, cmp.Or(a.err, io.EOF), a.log)
		}
	}
}

func (a *App) take(one answer, said any) error {
	if one.Error != "" {
		return fmt.Errorf("%s: %s", a.name, one.Error)
	}
	if said == nil {
		return nil
	}
	if err := json.Unmarshal(one.Said, said); err != nil {
		return fmt.Errorf("%s: its answer %s: %w", a.name, one.Said, err)
	}
	return nil
}

// Do tells it to do something, and puts its answer into said, unless that is nil. Both are JSON on
// the way.
func (a *App) Do(command string, arg, said any) error {
	return a.DoWithin(answerTimeout, command, arg, said)
}

// DoWithin is Do for what may take its time.
func (a *App) DoWithin(limit time.Duration, command string, arg, said any) error {
	n, err := a.tell(command, arg)
	if err != nil {
		return err
	}
	return a.await(n, said, limit)
}

func (a *App) tell(command string, arg any) (n int, err error) {
	a.serial++
	one := order{N: a.serial, Do: command}
	if arg != nil {
		if one.Arg, err = json.Marshal(arg); err != nil {
			return 0, fmt.Errorf("%s: %s: %w", a.name, command, err)
		}
	}
	line, err := json.Marshal(one)
	if err == nil {
		_, err = a.stdin.Write(append(line, '\n'))
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %s: %w: %s", a.name, command, err, a.log)
	}
	return one.N, nil
}

// Driver waits until it has a driver, and returns its process.
func (a *App) Driver() (pid int, err error) {
	bed := Bed{Drivers: a.drivers}
	if !Wait(answerTimeout, func() bool { pid = bed.DriverOf(a.PID()); return pid != 0 || a.HasExited() }) || pid == 0 {
		return 0, fmt.Errorf("%s has no driver: %s", a.name, a.log)
	}
	return pid, nil
}

// SignalDriver sends a signal to its driver, and returns its process.
func (a *App) SignalDriver(sig syscall.Signal) (pid int, err error) {
	if pid, err = a.Driver(); err == nil {
		err = syscall.Kill(pid, sig)
	}
	return pid, err
}

// Kill ends it as a crash would, and waits for the end.
func (a *App) Kill() {
	if a.HasExited() {
		return
	}
	a.killed = true
	_ = a.cmd.Process.Kill()
	<-a.exited
}

// KillWithDriver is Kill, and waits until its driver has ended too: until then that takes what it
// is sent.
func (a *App) KillWithDriver() error {
	pid, err := a.Driver()
	if err != nil {
		return err
	}
	a.Kill()
	bed := Bed{Drivers: a.drivers}
	if !Wait(exitTimeout, func() bool { return !bed.Running(pid) }) {
		return fmt.Errorf("the driver of %s lives on", a.name)
	}
	return nil
}

// Stop tells it to stop, waits for its answer and then for its end, which is to be a clean one.
func (a *App) Stop(limit time.Duration, said any) error {
	return errors.Join(a.DoWithin(limit, "stop", nil, said), a.Exit(exitTimeout))
}

// Terminate asks it to end by SIGTERM, and waits for its clean end.
func (a *App) Terminate(limit time.Duration) error {
	if err := a.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("%s: %w", a.name, err)
	}
	return a.Exit(limit)
}

// CloseInput ends its input, and waits for its clean end.
func (a *App) CloseInput(limit time.Duration) error {
	if err := a.stdin.Close(); err != nil {
		return fmt.Errorf("%s: %w", a.name, err)
	}
	return a.Exit(limit)
}

// Exit waits for its end, which is to be a clean one.
func (a *App) Exit(limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-a.exited:
	case <-timer.C:
		return fmt.Errorf("%s does not end within %v: %s", a.name, limit, a.log)
	}
	if a.err != nil {
		return fmt.Errorf("%s ended: %w: %s", a.name, a.err, a.log)
	}
	return nil
}

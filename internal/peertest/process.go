// SPDX-License-Identifier: Apache-2.0

package peertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// outputKept is how much of a process's output is kept for error messages.
const outputKept = 64 << 10

// process is one program that this package started. It leads its own process
// group and dies with the test process.
type process struct {
	name   string
	cmd    *exec.Cmd
	output *output
	exited chan struct{} // closed after Wait returned
	err    error         // result of Wait, readable once exited is closed
}

// processSpec says what to start.
type processSpec struct {
	name   string
	path   string
	args   []string
	env    []string
	dir    string
	stdin  io.Reader
	stdout io.Writer // nil: goes to the kept output, together with stderr
}

// startProcess starts the program and returns once it runs.
func startProcess(spec processSpec) (*process, error) {
	p := &process{
		name: spec.name,
		// It is ended by stop and kill, not by a context: a start's deadline must
		// not end what was started.
		cmd:    exec.Command(spec.path, spec.args...), //nolint:noctx // see above
		output: newOutput(outputKept),
		exited: make(chan struct{}),
	}
	p.cmd.Env = spec.env
	p.cmd.Dir = spec.dir
	p.cmd.Stdin = spec.stdin
	p.cmd.Stderr = p.output
	p.cmd.Stdout = p.output
	if spec.stdout != nil {
		p.cmd.Stdout = spec.stdout
	}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	// A helper of the program that still holds its output must not keep Wait.
	p.cmd.WaitDelay = 2 * time.Second

	started := make(chan error, 1)
	go func() {
		// Linux sends the parent-death signal when the thread that forked ends,
		// so that thread has to live as long as the process does.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.err = p.cmd.Wait()
		p.output.close()
		close(p.exited)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.name, err)
	}
	return p, nil
}

// pid is the process's id.
func (p *process) pid() int { return p.cmd.Process.Pid }

// running tells whether the process has not been reaped yet.
func (p *process) running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// signal sends sig to the process alone, not to its group. The os package
// refuses to signal a process that was reaped, so no stranger gets it.
func (p *process) signal(sig syscall.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("send %v to %s (pid %d): %w", sig, p.name, p.pid(), err)
	}
	return nil
}

// kill ends the process and its group at once and waits until it is reaped.
func (p *process) kill() {
	if p.running() {
		// The leader is not reaped yet, so the group's id is still ours.
		_ = syscall.Kill(-p.pid(), syscall.SIGKILL)
		_ = p.cmd.Process.Kill()
	}
	<-p.exited
}

// stop asks the process to end with sig and kills it when ctx ends first.
func (p *process) stop(ctx context.Context, sig syscall.Signal) error {
	if !p.running() {
		return nil
	}
	if err := p.signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.kill()
		return err
	}
	if err := p.wait(ctx); err != nil {
		p.kill()
		return fmt.Errorf("%s (pid %d) did not end on %v and was killed: %w", p.name, p.pid(), sig, err)
	}
	return nil
}

// wait blocks until the process is reaped or ctx ends.
func (p *process) wait(ctx context.Context) error {
	select {
	case <-p.exited:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// waitOutput blocks until text shows in the kept output. It fails when the
// process ends first.
func (p *process) waitOutput(ctx context.Context, text string) error {
	for {
		tail, changed, closed := p.output.watch()
		if strings.Contains(tail, text) {
			return nil
		}
		if closed {
			return fmt.Errorf("%s ended (%v) before it printed %q; its output:\n%s", p.name, p.cmd.ProcessState, text, tail)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%s did not print %q in time: %w; its output:\n%s", p.name, text, context.Cause(ctx), tail)
		}
	}
}

// output keeps the last bytes that a process wrote.
type output struct {
	limit int

	mu      sync.Mutex
	tail    []byte
	changed chan struct{} // closed and replaced at each change
	closed  bool
}

func newOutput(limit int) *output {
	return &output{limit: limit, changed: make(chan struct{})}
}

// Write never fails, so that the process never blocks on its output.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tail = append(o.tail, b...)
	if cut := len(o.tail) - o.limit; cut > 0 {
		o.tail = bytes.Clone(o.tail[cut:])
	}
	o.wake()
	return len(b), nil
}

// printf adds a line of this package's own to the process's.
func (o *output) printf(format string, args ...any) {
	_, _ = fmt.Fprintf(o, format, args...)
}

func (o *output) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.wake()
}

// wake lets every watcher look again. The caller holds mu.
func (o *output) wake() {
	close(o.changed)
	o.changed = make(chan struct{})
}

// watch returns what is kept, a channel that is closed at the next change, and
// whether there will be none.
func (o *output) watch() (tail string, changed <-chan struct{}, closed bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.tail), o.changed, o.closed
}

func (o *output) String() string {
	tail, _, _ := o.watch()
	return tail
}

// closeQuietly closes what was only read from, or what is given up anyway.
func closeQuietly(c io.Closer) { _ = c.Close() }

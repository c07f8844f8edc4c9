// SPDX-License-Identifier: Apache-2.0

//go:build unix

package driverproc

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/parleymq/parley/messaging/internal/driverlog"
)

// keep is the keeper: it starts the process, waits for its end, and clears up. The
// parent-death signal comes when the thread that started the process ends, so the keeper
// holds on to its thread as long as the process lives.
func (r *Runner) keep(started chan<- error) {
	runtime.LockOSThread()
	if !r.spec.Limits.NoNewPrivileges {
		defer runtime.UnlockOSThread()
		r.keepHere(started)
		return
	}
	// This thread gives up privileges for good, and ends with the keeper: it is never unlocked.
	// The main thread does not end, and its state is taken for that of the whole program.
	if !onMainThread() {
		r.keepHere(started)
		return
	}
	elsewhere := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		close(elsewhere)
		r.keepHere(started)
	}()
	<-elsewhere
	runtime.UnlockOSThread()
}

// keepHere is keep on the thread that it is to use.
func (r *Runner) keepHere(started chan<- error) {
	defer r.release()
	cmd, err := r.execute()
	if err != nil {
		started <- err
		return
	}
	r.post()
	started <- nil
	r.reap(cmd, awaitZombie(cmd.Process.Pid))
	close(r.exited)
	r.guard.finish()
	r.killMarked()
	r.finishReaders()
}

// post puts the guard beside the process. A driver runs without one as well.
func (r *Runner) post() {
	pid := r.Pid()
	g, err := guardGroup(r.dir.path, pid, func(err error) { r.lostGuard(pid, err) })
	if err != nil {
		r.logger.Debug("driver runs without a guard", "pid", pid, "err", err.Error())
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.guard = g
}

// lostGuard says so when the guard ended and its driver did not.
func (r *Runner) lostGuard(pid int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state == runnerRunning && !r.killed && !ended(pid) {
		r.logger.Warn("the driver's guard was ended by somebody", "pid", pid, "err", err)
	}
}

// killMarked kills what left the process group: a child of the driver in a session of its own.
func (r *Runner) killMarked() {
	if n := killMarked(context.Background(), r.dir.path); n > 0 {
		r.logger.Debug("children of the driver killed", "count", n)
	}
}

// execute starts the process and its readers.
func (r *Runner) execute() (*exec.Cmd, error) {
	var p childPipes
	if err := p.open(); err != nil {
		return nil, err
	}
	defer p.closeTheirs()
	path, err := r.programPath(firstExtraFD)
	if err != nil {
		p.closeOurs()
		return nil, err
	}
	began := time.Now()
	cmd, err := r.startPatiently(path, &p)
	if err != nil {
		p.closeOurs()
		return nil, err
	}
	r.stdout, r.stderr, r.lifeline = p.stdout, p.stderr, p.lifeline
	logger := r.logger.With("pid", cmd.Process.Pid)
	log := driverlog.New(logger, time.Now, &r.secrets)
	r.begin(cmd.Process.Pid, began, log)
	r.readers.Go(func() { log.Read(p.stderr) })
	r.readers.Go(func() { r.readStdout(p.stdout, logger) })
	return cmd, nil
}

// How long, and how often, a file that is being written to is tried again.
const (
	busyWait  = 250 * time.Millisecond
	busyPause = 10 * time.Millisecond
)

// startPatiently starts the program. The kernel does not execute a file that somebody has open for
// writing: a copy that is about to be complete, or a process that another part of this program
// forked while it wrote the file. Both are over in a moment.
func (r *Runner) startPatiently(path string, p *childPipes) (*exec.Cmd, error) {
	deadline := time.Now().Add(busyWait)
	for {
		cmd, err := r.startConfined(path, p)
		if !errors.Is(err, unix.ETXTBSY) || time.Now().After(deadline) {
			return cmd, err
		}
		<-time.After(busyPause)
	}
}

// startConfined starts the program under its limits.
func (r *Runner) startConfined(path string, p *childPipes) (*exec.Cmd, error) {
	cmd := r.command(path, p)
	stops, err := r.spec.Limits.prepare(cmd.SysProcAttr)
	if err != nil {
		return nil, err
	}
	err = cmd.Start()
	if err != nil && stops && errors.Is(err, unix.EPERM) {
		return nil, r.spec.Limits.errorf("%w", err) // most often it may not be traced
	}
	if err != nil || !stops {
		return cmd, err
	}
	if err := r.spec.Limits.confine(cmd.Process.Pid); err != nil {
		_ = cmd.Process.Kill() // it has not run yet
		_ = cmd.Wait()
		return nil, err
	}
	return cmd, nil
}

// begin notes that the process runs, and kills it when Kill came first.
func (r *Runner) begin(pid int, began time.Time, log *driverlog.Log) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pid, r.began, r.log, r.state = pid, began, log, runnerRunning
	r.startTime = processStartTime(pid)
	if r.killed {
		killGroup(pid)
	}
}

// command puts the call together. The program is started through the open file: by a link in
// the private directory, which gives the process a readable name, to the descriptor that it
// inherits. The descriptor stays open in it, because the interpreter of a script opens the
// same path once more.
func (r *Runner) command(path string, p *childPipes) *exec.Cmd {
	path, args := r.launcher.wrap(path, r.spec.Driver.Path)
	return &exec.Cmd{
		Path:        path,
		Args:        args,
		Env:         r.environment(),
		Stdout:      p.stdoutTheirs,
		Stderr:      p.stderrTheirs,
		ExtraFiles:  []*os.File{r.file, p.lifelineTheirs},
		SysProcAttr: processAttributes(),
	}
}

// firstExtraFD is the number that a process sees for the first of ExtraFiles.
const firstExtraFD = 3

// environment is complete: nothing is added later.
func (r *Runner) environment() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	env := driverEnv(os.Environ(), r.spec.PassEnv, r.spec.Env)
	env = append(env,
		LifelineVariable+"="+strconv.Itoa(firstExtraFD+1),
		DriverFileVariable+"="+r.file.Name())
	env = append(env, marks(r.dir.path)...)
	return append(env, r.env...)
}

// marks are the entries by which the processes of a driver are found, whatever became of them.
func marks(dir string) []string {
	return []string{DriverDirVariable + "=" + dir, HostProcessVariable + "=" + self().mark()}
}

// readStdout finds the handshake, then reads on for ever, so that a driver that prints
// never blocks.
func (r *Runner) readStdout(pipe io.Reader, logger *slog.Logger) {
	lines := driverlog.NewReader(pipe)
	log := driverlog.NewStdout(logger, &r.secrets)
	h, n, err := readHandshake(lines, log.Before)
	r.handshake <- handshakeResult{handshake: h, noise: n, err: err}
	for {
		line, err := lines.Next()
		if err != nil {
			return
		}
		log.After(line)
	}
}

// reap kills what is left of the group and collects the exit status. While the leader is a
// zombie its process id, which is the group's, cannot be another's.
func (r *Runner) reap(cmd *exec.Cmd, zombie bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if zombie {
		killGroup(r.pid)
	}
	err := cmd.Wait()
	r.status = cmd.ProcessState
	r.state = runnerReaped
	r.ended = time.Now()
	if r.status == nil {
		r.logger.Warn("the driver's exit status is lost", "err", err.Error())
	}
}

// finishReaders waits for the readers, but not for a stranger who holds the pipes.
func (r *Runner) finishReaders() {
	deadline := time.Now().Add(pipeGrace)
	_ = r.stdout.SetReadDeadline(deadline)
	_ = r.stderr.SetReadDeadline(deadline)
	r.readers.Wait()
}

// release lets go of everything. It runs once.
func (r *Runner) release() {
	closeAll(r.stdout, r.stderr, r.lifeline, r.file)
	if err := r.dir.Remove(); err != nil {
		r.logger.Warn("directory of the driver is left behind", "err", err.Error())
	}
	r.mu.Lock()
	r.state = runnerReleased
	r.mu.Unlock()
	close(r.released)
}

// linkName is the name under which the program is started; "ps" and "top" show it.
func linkName(program string) string { return filepath.Base(program) }

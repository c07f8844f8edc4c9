// SPDX-License-Identifier: Apache-2.0

//go:build unix

package driverproc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/parleymq/parley/messaging/internal/driverfile"
	"github.com/parleymq/parley/plugin/driver"
)

// startFailure explains why a start failed. before is how the process stood when the start
// was given up, so that a kill of our own is not taken for the cause.
func (r *Runner) startFailure(before ExitState, printed handshakeResult, cause error) *driver.Error {
	state := r.ExitState()
	if errors.Is(printed.err, errOpenLine) {
		cause = printed.err // why it was waited for in vain
	}
	f := startFailure{
		driver: r.spec.Driver, file: r.file.Name(), launcher: r.launcher.path, limited: r.spec.Limits != (Limits{}), exited: before.Exited,
		state: state, noise: printed.noise, elapsed: before.Elapsed, cause: cause,
	}
	if before.Exited {
		f.elapsed = state.Elapsed
	}
	return f.explain()
}

// startFailure is what is known of a failed start.
type startFailure struct {
	driver   driverfile.Candidate
	file     string // without symbolic links
	launcher string // that was executed instead; empty for none
	limited  bool   // it ran under limits
	exited   bool   // the process ended by itself
	state    ExitState
	noise    noise
	elapsed  time.Duration
	cause    error
}

// explain makes the error: what happened to which file, what was printed, what to do.
func (f startFailure) explain() *driver.Error {
	if notExecuted, ok := errors.AsType[*notExecutedError](f.cause); ok {
		return f.notExecuted(notExecuted.error)
	}
	if refused, ok := errors.AsType[*driver.Error](f.cause); ok {
		e := f.errorf(refused.Reason, "%s", refused.Message)
		e.Hint, e.Err = refused.Hint, refused
		return e
	}
	switch {
	case errors.Is(f.cause, errTooMuch):
		return f.errorf(driver.ReasonProtocol, "printed %d lines (%d bytes) and no handshake", f.noise.lines, f.noise.bytes).
			WithHint("is it a driver of Parley? A driver prints its handshake first and logs to standard error")
	case errors.Is(f.cause, errOpenLine):
		return f.errorf(driver.ReasonProtocol, "printed its handshake without a line end").
			WithHint("the driver must print a newline behind its handshake, and flush")
	case f.exited:
		return f.ended()
	case errors.Is(f.cause, errNoHandshake):
		return f.errorf(driver.ReasonProtocol, "closed its standard output without a handshake").
			WithHint("is it a driver of Parley?")
	default:
		return f.gaveUp()
	}
}

// errorf names the driver and its file, and adds the time and all that was printed.
func (f startFailure) errorf(reason driver.Reason, format string, args ...any) *driver.Error {
	what := fmt.Sprintf(format, args...)
	return driver.Errorf(reason, "driver %s (%s) %s, after %s%s%s", f.driver.Name, f.file, what,
		f.elapsed.Round(time.Millisecond), f.state.evidence(), quoteLines("standard output", f.noise.kept))
}

// ended explains a process that ended before its handshake.
func (f startFailure) ended() *driver.Error {
	e := f.errorf(driver.ReasonDriverGone, "%s before its handshake", f.state)
	e.Err = f.cause
	switch {
	case f.limited && (f.state.Crash != "" || f.state.Signal != 0):
		return e.WithHint("it ran under limits; raise them if it needs more")
	case f.state.Crash != "":
		return e.WithHint("this is a fault of the driver; report it to its author")
	case (f.state.Code == 126 || f.state.Code == 127) && f.launcher != "":
		return e.WithHint("the launcher %s did not find or execute it; it must pass on descriptor %d and see the runtime directory",
			f.launcher, firstExtraFD)
	case f.state.Code == 126 || f.state.Code == 127:
		return e.WithHint("a program or library that the driver needs is missing; %s", f.format())
	case len(f.state.Stderr) == 0 && len(f.noise.kept) == 0:
		return e.WithHint("it said nothing; is it a driver of Parley? %s", f.format())
	default:
		return e
	}
}

// gaveUp explains a process that did nothing until the time was over.
func (f startFailure) gaveUp() *driver.Error {
	if errors.Is(f.cause, context.DeadlineExceeded) {
		e := f.errorf(driver.ReasonDriverGone, "printed no handshake in time and was killed")
		e.Err = f.cause
		return e.WithHint("look at what it printed; on a slow machine raise the start timeout")
	}
	e := f.errorf(driver.ReasonDriverGone, "was not waited for")
	e.Err = f.cause
	return e
}

// notExecuted explains an error of the kernel.
func (f startFailure) notExecuted(err error) *driver.Error {
	cause := err
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		cause = pe.Err // the path is that of our link, which tells nobody anything
	}
	e := driver.Errorf(driver.ReasonConfig, "driver %s (%s) cannot be executed: %w", f.driver.Name, f.file, cause)
	if f.launcher != "" {
		e.Message = fmt.Sprintf("launcher %s of driver %s cannot be executed: %v", f.launcher, f.driver.Name, cause)
	}
	switch {
	case f.launcher != "" && (errors.Is(cause, unix.ENOEXEC) || errors.Is(cause, unix.ENOENT)):
		return e.WithHint("%s", describeProgram(f.launcher))
	case errors.Is(cause, unix.ENOEXEC):
		return e.WithHint("%s", f.format())
	case errors.Is(cause, unix.ENOENT):
		return e.WithHint("the interpreter or loader that it names is missing; %s", f.format())
	case errors.Is(cause, unix.EACCES):
		return e.WithHint("its file system may be mounted noexec, or the user of this process may not execute it; %s", f.format())
	case errors.Is(cause, unix.ETXTBSY):
		e.Reason, e.Retryable = driver.ReasonDriverGone, true
		return e.WithHint("somebody is writing to it; install by renaming a finished copy over it")
	default:
		// Out of processes, descriptors or memory: another time it may work.
		e.Reason, e.Retryable = driver.ReasonDriverGone, true
		return e
	}
}

func (f startFailure) format() string { return describeProgram(f.file) }

// GoneError is the error for what was under way when the process ended: how it ended and
// what it said last. After the end it waits a moment for the last words to be read.
func (r *Runner) GoneError(cause error) *driver.Error {
	if r.ExitState().Exited {
		timer := time.NewTimer(2 * pipeGrace)
		defer timer.Stop()
		select {
		case <-r.released:
		case <-timer.C:
		}
	}
	s := r.ExitState()
	e := driver.Errorf(driver.ReasonDriverGone, "driver %s (%s, pid %d) %s, after %s%s", r.spec.Driver.Name,
		r.file.Name(), s.Pid, s, s.Elapsed.Round(time.Millisecond), s.evidence())
	e.Err = cause
	return e
}

// describeProgram says what kind of program a file is.
func describeProgram(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return "its file cannot be read any more"
	}
	defer closeAll(f)
	return programFormat(f)
}

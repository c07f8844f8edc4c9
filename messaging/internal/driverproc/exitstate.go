// SPDX-License-Identifier: Apache-2.0

package driverproc

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

// ExitState is how a driver process stands, or how it ended.
type ExitState struct {
	Pid    int  // 0 when no process was started
	Exited bool // the process has ended; Code and Signal say how
	Code   int  // exit code; -1 after a signal, or when the status is lost
	Signal syscall.Signal
	Core   bool // it left a core dump
	Killed bool // the host killed it
	// Stderr has its last lines, Crash the line that named a panic or exception.
	Stderr []string
	Crash  string
	// Elapsed is how long it ran, until now or its end.
	Elapsed time.Duration
}

func (s *ExitState) setStatus(status *os.ProcessState) {
	s.Code = -1
	if status == nil {
		return
	}
	s.Code = status.ExitCode()
	if ws, ok := status.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		s.Signal, s.Core = ws.Signal(), ws.CoreDump()
	}
}

// String tells what happened, without the output.
func (s ExitState) String() string {
	switch {
	case s.Pid == 0:
		return "was not started"
	case !s.Exited:
		return "runs"
	case s.Killed && s.Signal == syscall.SIGKILL:
		return "was killed by the host"
	case s.Signal != 0:
		return fmt.Sprintf("was killed by signal %d (%v)%s", int(s.Signal), s.Signal, s.signalNote())
	case s.Code < 0:
		return "ended, exit status unknown"
	default:
		return fmt.Sprintf("exited with code %d", s.Code)
	}
}

func (s ExitState) signalNote() string {
	switch {
	case s.Signal == syscall.SIGKILL:
		return ", by the kernel for lack of memory or by somebody"
	case s.Core:
		return ", and left a core dump"
	default:
		return ""
	}
}

// evidence quotes what the process said last.
func (s ExitState) evidence() string {
	var b strings.Builder
	lines := s.Stderr
	if s.Crash != "" {
		fmt.Fprintf(&b, "; it crashed: %q", s.Crash)
		return b.String()
	}
	if n := len(lines); n > quotedLines {
		lines = lines[n-quotedLines:]
	}
	b.WriteString(quoteLines("standard error", lines))
	return b.String()
}

// quotedLines is how many lines an error quotes; ExitState has more.
const quotedLines = 5

// quoteLines puts printed lines into one line of error text.
func quoteLines(stream string, lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	quoted := make([]string, len(lines))
	for i, line := range lines {
		quoted[i] = fmt.Sprintf("%q", line)
	}
	return fmt.Sprintf("; its %s: %s", stream, strings.Join(quoted, " "))
}

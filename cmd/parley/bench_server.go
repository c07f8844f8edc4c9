// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/plugin/driver"
)

// stopTimeout bounds the end of a server that was started for a benchmark.
const stopTimeout = 5 * time.Second

// benchServer is the server of a benchmark.
type benchServer struct {
	pid  int // of its process, 0 when it has none of its own
	stop func()
}

// startServer starts a server for the benchmark and returns when it receives. It has a process
// of its own, unless the driver does not reach beyond one process.
func (a *app) startServer(ctx context.Context, f *benchFlags, t *messaging.Transport, raw string) (*benchServer, error) {
	if !t.Info().Has(driver.CapShared) {
		return a.serveHere(ctx, f, t)
	}
	return a.runElsewhere(ctx, a.serverArgs(f), raw)
}

// serveHere serves in this process.
func (a *app) serveHere(ctx context.Context, f *benchFlags, t *messaging.Transport) (*benchServer, error) {
	target := f.target.target
	ep := messaging.NewEndpoint(&messaging.EndpointOptions{Namespace: target.Namespace, Version: target.Version})
	serveEcho(ep)
	target.Namespace, target.Version = "", ""
	srv := messaging.NewRPCServer(t, target, &messaging.RPCServerOptions{Concurrency: f.concurrency()}, ep)
	stop, err := startServing(ctx, srv)
	if err != nil {
		return nil, err
	}
	return &benchServer{stop: stop}, nil
}

// concurrency of the server is never what limits the calls.
func (f *benchFlags) concurrency() int { return max(f.inFlight, messaging.DefaultConcurrency) }

// runElsewhere starts this program a second time, as a server or listener, and returns when it
// receives. The URL goes to its standard input, where nobody else can read it.
func (a *app) runElsewhere(ctx context.Context, args []string, raw string) (*benchServer, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program to start the server: %w", err)
	}
	lines := &serverLines{out: a.stderr, ready: make(chan struct{})}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), self, args...)
	cmd.Stdin = strings.NewReader(raw + "\n")
	cmd.Stderr = lines
	cmd.SysProcAttr = groupOfItsOwn()
	cmd.WaitDelay = time.Second
	ended, err := startHeld(cmd)
	if err != nil {
		return nil, fmt.Errorf("start the server: %w", err)
	}
	s := &benchServer{pid: cmd.Process.Pid, stop: func() { stopProcess(cmd, ended) }}
	select {
	case <-lines.ready:
		return s, nil
	case <-ended:
		return nil, lines.failure(cmd)
	case <-ctx.Done():
		s.stop()
		return nil, unavailable(ctx.Err())
	}
}

func (a *app) serverArgs(f *benchFlags) []string {
	target := f.target.target
	args := append(a.peerArgs("serve"), "--echo", "--topic", target.Topic, "--server", target.Server,
		"--concurrency", strconv.Itoa(f.concurrency()))
	optional := func(flag, value string) {
		if value != "" {
			args = append(args, flag, value)
		}
	}
	optional("--exchange", target.Exchange)
	optional("--namespace", target.Namespace)
	optional("--version", target.Version)
	return args
}

// peerArgs are the arguments that every command of runElsewhere has.
func (a *app) peerArgs(command string) []string {
	fixed := []string{command, "-o", outputJSON, "--url-file", "-", "--log-level", a.logLevel}
	args := append(make([]string, 0, len(fixed)+2*len(a.driverPath)+2*len(a.aliasPairs)), fixed...)
	for _, dir := range a.driverPath {
		args = append(args, "--driver-path", dir)
	}
	for _, pair := range a.aliasPairs {
		args = append(args, "--alias", pair)
	}
	return args
}

// startHeld starts cmd on a thread that lives as long as cmd does: where its end is tied to
// that of its parent, the parent is the thread. The channel is closed when cmd has ended.
func startHeld(cmd *exec.Cmd) (<-chan struct{}, error) {
	started, ended := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // ProcessState has it
		}
	}()
	return ended, <-started
}

// stopProcess lets the server drain, and kills it when that takes too long.
func stopProcess(cmd *exec.Cmd, ended <-chan struct{}) {
	_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
		_ = killGroup(cmd.Process.Pid)
		<-ended
	}
}

// serverLines reads the standard error of a server: it recognises the line that says that the
// server receives and the one that says why it failed, and passes on everything else. It is
// written to by one goroutine, and read after that has ended.
type serverLines struct {
	out   io.Writer
	ready chan struct{}

	rest    []byte
	isReady bool
	failed  *failure
}

func (l *serverLines) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		line, rest, ok := bytes.Cut(l.rest, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		l.line(line)
		l.rest = rest
	}
}

func (l *serverLines) line(line []byte) {
	var known struct {
		Event string   `json:"event"`
		Error *failure `json:"error"`
	}
	err := json.Unmarshal(line, &known)
	switch {
	case err == nil && known.Event == eventConsuming && !l.isReady:
		l.isReady = true
		close(l.ready)
	case err == nil && known.Error != nil:
		l.failed = known.Error
	default:
		say(l.out, "%s\n", line)
	}
}

// failure is why the server ended before it received anything.
func (l *serverLines) failure(cmd *exec.Cmd) error {
	if l.failed == nil {
		return fmt.Errorf("the server ended before it was ready: %w", errors.New(cmd.ProcessState.String()))
	}
	return &messaging.Error{Code: messaging.Code(l.failed.Code), Op: "start the server", Message: l.failed.Message, Hint: l.failed.Hint}
}

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
	"strconv"
	"strings"
	"sync"
	"time"

	hclog "github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin/runner"

	"github.com/parleymq/parley/messaging/internal/driverfile"
	"github.com/parleymq/parley/messaging/internal/driverlog"
	"github.com/parleymq/parley/plugin/driver"
)

const (
	// KillTimeout bounds Kill when its context does not.
	KillTimeout = 5 * time.Second
	// pipeGrace is how long the pipes of a dead process are still read: a child that left
	// its group may hold them open for ever.
	pipeGrace = 500 * time.Millisecond
	// exitGrace is how long a process that closed its standard output may take to end.
	exitGrace = 500 * time.Millisecond
)

// Spec says what a Runner starts.
type Spec struct {
	// Driver is the file, as SearchPath.Find returned it.
	Driver driverfile.Candidate
	// Program, when not nil, is the program that Driver named before, as OpenProgram gave it.
	// The Runner owns it then.
	Program *os.File
	// Trust is what the file must prove.
	Trust driverfile.Trust
	// Base is where the process gets its private directory.
	Base *Base
	// Majors are the protocol majors that the host speaks.
	Majors []int
	// PassEnv names further variables of the host that the driver gets; Env has further
	// entries KEY=value, which win over the host's.
	PassEnv []string
	Env     []string
	// Launcher is a command with its arguments that executes what is appended to them; empty for
	// none. It is looked up in PATH, and must be trusted as a driver is.
	Launcher []string
	// Limits are set before the program runs.
	Limits Limits
	// Logger takes the driver's log; the runner adds driver and pid.
	Logger *slog.Logger
}

// Runner runs one driver process once. It is go-plugin's Runner, and does what the one
// of the library does not: the file that was checked is the one that is started, the
// environment is explicit, the process dies with the host and takes its children with it,
// noise before the handshake is no error, and no wait is without a bound.
//
// Its goroutines are the keeper, which starts and reaps the process, one that waits for the
// guard, and a reader for each of the two pipes. They end when the process does.
type Runner struct {
	spec   Spec
	file   *os.File // the checked program; open as long as the process, for scripts
	dir    *Dir
	logger *slog.Logger
	// launcher starts the program, when there is one.
	launcher launcher

	handshake chan handshakeResult // of one element: what the stdout reader found
	line      string               // the handshake that was accepted; written by Start
	stdout    *os.File             // our ends of the pipes, the keeper's to close
	stderr    *os.File
	lifeline  *os.File
	readers   sync.WaitGroup
	secrets   driverlog.Secrets // masked in all that it prints

	exited   chan struct{} // closed when the process is reaped
	released chan struct{} // closed when nothing of it is left

	mu        sync.Mutex // guards what follows
	state     runnerState
	env       []string // what go-plugin wants in the environment
	log       *driverlog.Log
	pid       int
	guard     *guard // nil when there is none
	startTime uint64
	began     time.Time
	ended     time.Time
	killed    bool // by Kill
	status    *os.ProcessState
}

// runnerState is where a runner stands. It only goes forward.
type runnerState uint8

const (
	runnerNew runnerState = iota
	runnerStarting
	runnerRunning
	runnerReaped
	runnerReleased // nothing is left, or nothing was ever started
)

// handshakeResult is what the stdout reader found.
type handshakeResult struct {
	handshake handshake
	noise     noise
	err       error
}

var _ runner.Runner = (*Runner)(nil)

// New checks the file and makes the private directory; every error is a
// *driver.Error. The caller must Kill the runner, whether it was started or not.
func New(spec Spec) (*Runner, error) {
	file, err := spec.open()
	if err != nil {
		return nil, err
	}
	launcher, err := findLauncher(spec.Launcher)
	if err != nil {
		closeAll(file)
		return nil, err
	}
	dir, err := spec.Base.create()
	if err != nil {
		closeAll(file)
		return nil, err
	}
	logger := spec.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &Runner{
		spec: spec, file: file, dir: dir, launcher: launcher,
		logger:    logger.With("driver", spec.Driver.Name),
		handshake: make(chan handshakeResult, 1),
		exited:    make(chan struct{}),
		released:  make(chan struct{}),
	}, nil
}

// Dir is the private directory, for UnixSocketConfig.TempDir.
func (r *Runner) Dir() string { return r.dir.path }

// RunnerFunc is for ClientConfig.RunnerFunc, with SkipHostEnv set.
func (r *Runner) RunnerFunc(_ hclog.Logger, cmd *exec.Cmd, socketDir string) (runner.Runner, error) {
	if !strings.HasPrefix(socketDir, r.dir.path+"/") {
		return nil, driver.Errorf(driver.ReasonInternal, "socket directory %s is not in %s", socketDir, r.dir.path)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.env = append([]string(nil), cmd.Env...)
	return r, nil
}

// Start starts the process and returns once it has printed a handshake that is acceptable,
// or with a *driver.Error that tells why it has not; the process is gone then.
func (r *Runner) Start(ctx context.Context) error {
	r.mu.Lock()
	if r.state != runnerNew {
		r.mu.Unlock()
		return driver.Errorf(driver.ReasonInternal, "driver %s: its runner was started or killed before", r.spec.Driver.Name)
	}
	r.state = runnerStarting
	r.mu.Unlock()

	started := make(chan error, 1)
	go r.keep(started)
	result, err := r.awaitStart(ctx, started)
	if err == nil {
		r.line = result.handshake.line
		return nil
	}
	waited := r.ExitState() // before Kill, which is our doing
	if killErr := r.Kill(context.WithoutCancel(ctx)); killErr != nil {
		r.logger.Error("driver could not be killed", "err", killErr.Error())
	}
	select {
	case result = <-r.handshake: // what was printed until the start was given up
	default:
	}
	return r.startFailure(waited, result, err)
}

// awaitStart waits until the program is executed and ready. Executing can take long as well,
// on a network file system.
func (r *Runner) awaitStart(ctx context.Context, started <-chan error) (handshakeResult, error) {
	select {
	case err := <-started:
		if refused, ok := errors.AsType[*driver.Error](err); ok {
			return handshakeResult{}, refused
		}
		if err != nil {
			return handshakeResult{}, &notExecutedError{err}
		}
		return r.awaitHandshake(ctx)
	case <-ctx.Done():
		return handshakeResult{}, context.Cause(ctx)
	}
}

// notExecutedError marks a program that the kernel did not run.
type notExecutedError struct{ error }

// awaitHandshake waits for the stdout reader and judges what it found.
func (r *Runner) awaitHandshake(ctx context.Context) (handshakeResult, error) {
	var result handshakeResult
	select {
	case result = <-r.handshake:
	case <-ctx.Done():
		return result, context.Cause(ctx)
	}
	if errors.Is(result.err, errNoHandshake) {
		r.awaitExit(ctx) // most often it is ending; its exit code says more
	}
	if result.err != nil {
		return result, result.err
	}
	rules := handshakeRules{majors: r.spec.Majors, dir: r.dir.path}
	if err := rules.check(result.handshake); err != nil {
		return result, err
	}
	return result, checkSocket(result.handshake.address)
}

// checkSocket makes sure that the address is a socket and no link to somewhere else.
func checkSocket(path string) error {
	info, err := os.Lstat(path)
	if err == nil && info.Mode()&os.ModeSocket == 0 {
		err = errors.New("it is no socket")
	}
	if err != nil {
		return driver.Errorf(driver.ReasonProtocol, "names the socket %s in its handshake: %w", path, err).
			WithHint("the driver must listen before it prints its handshake")
	}
	return nil
}

func (r *Runner) awaitExit(ctx context.Context) {
	timer := time.NewTimer(exitGrace)
	defer timer.Stop()
	select {
	case <-r.released:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// AddSecret masks a text, such as a password that the process is about to be told, in all that
// the process prints from now on: in records, and in errors that quote its last lines. One of
// less than four bytes is not masked.
func (r *Runner) AddSecret(secret string) { r.secrets.Add(secret) }

// Exited is closed when the process has ended and was reaped; never when none was started.
func (r *Runner) Exited() <-chan struct{} { return r.exited }

// Released is closed when nothing is left: no process of the group, descriptor, or file.
func (r *Runner) Released() <-chan struct{} { return r.released }

// Wait waits for the end of the process and of its output. It returns nil for exit code 0.
func (r *Runner) Wait(ctx context.Context) error {
	select {
	case <-r.released:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if state := r.ExitState(); !state.Exited || state.Code != 0 {
		return errors.New(state.String())
	}
	return nil
}

// Pid is the process id, or 0 when no process was started.
func (r *Runner) Pid() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pid
}

// StartTime tells the process from another with the same id: field 22 of /proc/PID/stat.
func (r *Runner) StartTime() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.startTime
}

// ExitState tells how the process ended, or that it runs.
func (r *Runner) ExitState() ExitState {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := ExitState{Pid: r.pid, Killed: r.killed}
	if r.pid == 0 {
		return s
	}
	s.Stderr, s.Crash = r.log.Tail()
	if r.state < runnerReaped {
		s.Elapsed = time.Since(r.began)
		return s
	}
	s.Exited, s.Elapsed = true, r.ended.Sub(r.began)
	s.setStatus(r.status)
	return s
}

// Diagnose is for go-plugin's errors; ours are complete when Start returns.
func (r *Runner) Diagnose(context.Context) string { return r.ExitState().String() }

// Stdout gives go-plugin the one line that it needs; the pipe has its own reader.
func (r *Runner) Stdout() io.ReadCloser {
	return io.NopCloser(strings.NewReader(r.line + "\n"))
}

// Stderr gives go-plugin nothing; the pipe has its own reader.
func (r *Runner) Stderr() io.ReadCloser { return io.NopCloser(strings.NewReader("")) }

// Name is the file's path.
func (r *Runner) Name() string { return r.spec.Driver.Path }

// ID is the process id; it is empty when there is no process, and go-plugin then kills none.
func (r *Runner) ID() string {
	if pid := r.Pid(); pid != 0 {
		return strconv.Itoa(pid)
	}
	return ""
}

// PluginToHost translates nothing: host and driver see the same files.
func (r *Runner) PluginToHost(network, address string) (string, string, error) {
	return network, address, nil
}

// HostToPlugin translates nothing.
func (r *Runner) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}

// SPDX-License-Identifier: Apache-2.0

//go:build unix

package host

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/parleymq/parley/internal/bridge"
	"github.com/parleymq/parley/internal/version"
	"github.com/parleymq/parley/messaging/internal/driverfile"
	"github.com/parleymq/parley/messaging/internal/driverproc"
	"github.com/parleymq/parley/plugin/driver"
)

const (
	// helloTimeout bounds the first call to a process that printed its handshake.
	helloTimeout = 5 * time.Second
	// termWait is how long a process may take to end after SIGTERM.
	termWait = 3 * time.Second
	// drainWait is how long a process may take to close connections that nobody uses.
	drainWait = 2 * time.Second
	// explainWait is how long a failed call waits for the process's end, to say why.
	explainWait = 300 * time.Millisecond
)

// process is one life of one driver process: from its start to its end.
type process struct {
	peer   *bridge.Peer
	pid    int
	file   string  // the program, without symbolic links
	prog   program // what it was started from, open; without a file for one that was attached to
	began  time.Time
	runner processRunner
	client *plugin.Client // nil for a process that somebody else started
	keeper driverproc.ConnKeeper
	logger *slog.Logger

	gone   chan struct{} // closed when the process is gone or given up
	cancel context.CancelFunc
	loops  sync.WaitGroup

	occupants occupancy

	mu  sync.Mutex
	why error // set before gone is closed; guarded by mu
}

// processRunner is what a process is to its owner, whoever started it.
type processRunner interface {
	Name() string
	Pid() int
	Exited() <-chan struct{}
	Signal(syscall.Signal) error
	Kill(context.Context) error
	GoneError(cause error) *driver.Error
	// Traced reports whether a debugger holds it.
	Traced() bool
	// AddSecret masks a text in what it prints.
	AddSecret(string)
}

// launch starts a program and greets it. Every error is a *driver.Error.
func launch(ctx context.Context, s *supervisor, prog program) (*process, error) {
	h := s.host
	base, err := driverproc.OpenBase(h.opts.RuntimeDir, os.Getenv)
	if err != nil {
		prog.close()
		return nil, err
	}
	r, err := driverproc.New(driverproc.Spec{
		Driver: prog.found, Program: prog.file, Trust: h.opts.Trust, Base: base, Majors: bridge.Majors(), Logger: h.opts.Logger,
		Env: h.opts.Env, PassEnv: h.opts.PassEnv, Launcher: h.opts.Launcher, Limits: h.opts.Limits,
	})
	if err != nil {
		return nil, err
	}
	p := &process{runner: r, gone: make(chan struct{}), logger: s.logger, began: time.Now(), file: r.Program(), prog: prog}
	if p.prog.file, err = r.OpenProgram(); err != nil {
		p.kill()
		return nil, err
	}
	if err := p.greet(ctx, h, r, prog.found); err != nil {
		p.kill()
		return nil, err
	}
	p.supervise(s)
	p.logger.Debug("driver started", "pid", p.pid, "file", p.file,
		"version", p.peer.Info().Version, "sdk", p.peer.SDKVersion())
	return p, nil
}

// supervise starts the session.
func (p *process) supervise(s *supervisor) {
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	p.loops.Go(func() { p.watch(ctx, s) })
}

// greet starts the process under go-plugin and says Hello.
func (p *process) greet(ctx context.Context, h *Host, r *driverproc.Runner, found driverfile.Candidate) error {
	ctx, cancel := context.WithTimeout(ctx, h.opts.StartTimeout+helloTimeout)
	defer cancel()
	limits := h.limits()
	p.client = plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  bridge.Handshake(),
		VersionedPlugins: bridge.Plugins(nil),
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		RunnerFunc:       r.RunnerFunc,
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: r.Dir()},
		SkipHostEnv:      true,
		StartTimeout:     h.opts.StartTimeout,
		AutoMTLS:         h.opts.AutoMTLS,
		GRPCDialOptions:  append(bridge.DialOptions(limits), p.keeper.DialOption()),
		// What it has to say is in our own records and errors.
		Logger: hclog.NewNullLogger(),
	})
	raw, err := p.dispense(ctx)
	if err != nil {
		return err
	}
	cc, ok := raw.(grpc.ClientConnInterface)
	if !ok {
		return driver.Errorf(driver.ReasonProtocol, "driver %s: go-plugin gave a %T instead of a connection", found.Name, raw)
	}
	p.pid = r.Pid()
	return p.hello(ctx, h, cc, found)
}

// hello greets the driver and checks that it is who its file says.
func (p *process) hello(ctx context.Context, h *Host, cc grpc.ClientConnInterface, found driverfile.Candidate) error {
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	var err error
	p.peer, err = bridge.Hello(ctx, cc, bridge.HelloOptions{
		HostVersion: version.Number, Epoch: newEpoch(), Limits: h.limits(),
		LogLevel: h.logLevel(), Logger: p.logger,
	})
	if err != nil {
		return p.explain(fmt.Errorf("driver %s (%s): %w", found.Name, found.Path, err))
	}
	info := p.peer.Info()
	if info.Name != found.Name {
		return driver.Errorf(driver.ReasonConfig, "%s says that it is driver %q, not %q", found.Path, info.Name, found.Name).
			WithHint("name the file parley-driver-%s", info.Name)
	}
	if found.Version != "" && found.Version != info.Version {
		p.logger.Warn("the driver's file has another version in its name than the driver says", "file", found.Path, "version", info.Version)
	}
	return nil
}

// dispense runs go-plugin's start, which knows no context: when ours ends, the process is
// killed from outside, and go-plugin returns.
func (p *process) dispense(ctx context.Context) (any, error) {
	type result struct {
		raw any
		err error
	}
	started := make(chan result, 1)
	p.loops.Go(func() {
		protocol, err := p.client.Client()
		if err != nil {
			started <- result{err: err}
			return
		}
		raw, err := protocol.Dispense(bridge.PluginName)
		started <- result{raw: raw, err: err}
	})
	var r result
	select {
	case r = <-started:
	case <-ctx.Done():
		p.killProcess()
		r = <-started
		r.err = errors.Join(ctx.Err(), r.err)
	}
	if r.err == nil {
		return r.raw, nil
	}
	if e, ok := errors.AsType[*driver.Error](r.err); ok {
		return nil, e
	}
	e := driver.Errorf(driver.ReasonDriverGone, "driver %s did not start: %w", p.runner.Name(), r.err)
	return nil, e
}

// newEpoch makes the number of a life. Random numbers tell lives apart even when two hosts
// talk to the same process by mistake.
func newEpoch() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return binary.LittleEndian.Uint64(b[:])>>1 | 1
}

// watch holds the session and notices the end of the process, whichever comes first. A driver
// that is silent is killed: it is stopped or hangs, and would hold its messages for ever.
func (p *process) watch(ctx context.Context, s *supervisor) {
	session := make(chan error, 1)
	sessionCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	o := s.host.opts
	p.loops.Go(func() {
		session <- p.peer.Session(sessionCtx, bridge.SessionOptions{
			Interval: o.HeartbeatInterval, Silence: o.HeartbeatTimeout, Level: s.host.logLevel, Paused: p.runner.Traced,
			Late: func(silence time.Duration) { s.noteLate(lateness{process: p, silence: silence}) },
		})
	})
	select {
	case <-p.runner.Exited():
		p.end(p.exitError())
	case err := <-session:
		p.awaitExit(explainWait)
		if !p.exited() && ctx.Err() == nil {
			p.logger.Error("driver given up", "pid", p.pid, "err", err.Error())
			p.killProcess()
			p.end(p.runner.GoneError(err))
			return
		}
		p.end(p.exitError())
	case <-ctx.Done():
		p.end(errStopped(p.peer.Info().Name))
	}
}

// end closes gone, once.
func (p *process) end(why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.why == nil {
		p.why = why
		close(p.gone)
	}
}

// cause is why the process is gone; nil while it lives.
func (p *process) cause() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.why
}

func (p *process) exited() bool {
	select {
	case <-p.runner.Exited():
		return true
	default:
		return false
	}
}

func (p *process) awaitExit(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-p.runner.Exited():
	case <-timer.C:
	}
}

// exitError says how the process ended, with what it printed last.
func (p *process) exitError() error {
	return p.runner.GoneError(nil)
}

// explain replaces "the connection broke" by how the process ended, when it did.
func (p *process) explain(err error) error {
	if driver.ReasonOf(err) != driver.ReasonDriverGone {
		return err
	}
	p.awaitExit(explainWait)
	if !p.exited() {
		return err
	}
	return p.exitError()
}

// stop ends the process: it is asked to, and then killed. It returns when nothing is left.
func (p *process) stop() {
	p.end(errStopped(p.runner.Name()))
	if !p.exited() {
		p.drain()
		if err := p.runner.Signal(syscall.SIGTERM); err == nil {
			p.awaitExit(termWait)
		}
	}
	p.kill()
}

// drain has the driver close what is still open there.
func (p *process) drain() {
	ctx, cancel := context.WithTimeout(context.Background(), drainWait)
	defer cancel()
	if err := p.peer.Drain(ctx); err != nil && !p.exited() {
		p.logger.Debug("draining the driver failed", "pid", p.pid, "err", err.Error())
	}
}

// kill ends the process at once and everything that belongs to it.
func (p *process) kill() {
	p.killProcess()
	if p.cancel != nil {
		p.cancel()
	}
	// With the process dead, go-plugin's Kill only closes its connection and its goroutines.
	if p.client != nil {
		p.client.Kill()
		p.keeper.Close()
	}
	p.loops.Wait()
	p.prog.close()
}

// killProcess kills the process group, whatever state it is in.
func (p *process) killProcess() {
	ctx, cancel := context.WithTimeout(context.Background(), driverproc.KillTimeout)
	defer cancel()
	if err := p.runner.Kill(ctx); err != nil {
		p.logger.Error("driver process could not be killed", "err", err.Error())
	}
}

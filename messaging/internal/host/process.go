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
	// explainWait is how long a failed call waits for the process's end, to say why.
	explainWait = 300 * time.Millisecond
)

// process is one life of one driver process: from its start to its end.
type process struct {
	peer   *bridge.Peer
	pid    int
	runner *driverproc.Runner
	client *plugin.Client
	keeper driverproc.ConnKeeper
	logger *slog.Logger

	gone   chan struct{} // closed when the process is gone or given up
	cancel context.CancelFunc
	loops  sync.WaitGroup

	mu  sync.Mutex
	why error // set before gone is closed; guarded by mu
}

// launch finds, checks and starts a driver and greets it. Every error is a *driver.Error.
func launch(ctx context.Context, h *Host, name string, logger *slog.Logger) (*process, error) {
	found, err := h.search.Find(name)
	if err != nil {
		return nil, err
	}
	base, err := driverproc.OpenBase(h.opts.RuntimeDir, os.Getenv)
	if err != nil {
		return nil, err
	}
	r, err := driverproc.New(driverproc.Spec{
		Driver: found, Base: base, Majors: []int{bridge.ProtocolMajor}, Logger: h.opts.Logger,
	})
	if err != nil {
		return nil, err
	}
	p := &process{runner: r, gone: make(chan struct{}), logger: logger}
	if err := p.greet(ctx, h, name, found); err != nil {
		p.kill()
		return nil, err
	}
	sessionCtx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	p.loops.Go(func() { p.watch(sessionCtx, h.opts) })
	logger.Debug("driver started", "pid", p.pid, "file", found.Path,
		"version", p.peer.Info().Version, "sdk", p.peer.SDKVersion())
	return p, nil
}

// greet starts the process under go-plugin and says Hello.
func (p *process) greet(ctx context.Context, h *Host, name string, found driverfile.Candidate) error {
	limits := bridge.Limits{MaxFrameBytes: h.opts.MaxFrameBytes}
	p.client = plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  bridge.Handshake(),
		VersionedPlugins: bridge.Plugins(nil),
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		RunnerFunc:       p.runner.RunnerFunc,
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: p.runner.Dir()},
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
		return driver.Errorf(driver.ReasonProtocol, "driver %s: go-plugin gave a %T instead of a connection", name, raw)
	}
	p.pid = p.runner.Pid()
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	p.peer, err = bridge.Hello(ctx, cc, bridge.HelloOptions{
		HostVersion: version.Number, Epoch: newEpoch(), Limits: limits,
		LogLevel: enabledLevel(ctx, h.opts.Logger), Logger: p.logger,
	})
	if err != nil {
		return p.explain(fmt.Errorf("driver %s (%s): %w", name, found.Path, err))
	}
	if got := p.peer.Info().Name; got != name {
		return driver.Errorf(driver.ReasonConfig, "%s says that it is driver %q, not %q", found.Path, got, name).
			WithHint("name the file parley-driver-%s", got)
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

// enabledLevel is the lowest level that the logger takes.
func enabledLevel(ctx context.Context, logger *slog.Logger) slog.Level {
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn} {
		if logger.Enabled(ctx, level) {
			return level
		}
	}
	return slog.LevelError
}

// watch holds the session and notices the end of the process, whichever comes first. A driver
// that is silent is killed: it is stopped or hangs, and would hold its messages for ever.
func (p *process) watch(ctx context.Context, o Options) {
	session := make(chan error, 1)
	sessionCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	p.loops.Go(func() {
		session <- p.peer.Session(sessionCtx, bridge.SessionOptions{Interval: o.HeartbeatInterval, Silence: o.HeartbeatTimeout})
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
		p.end(driver.Errorf(driver.ReasonClosed, "the driver was stopped"))
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
	p.end(driver.Errorf(driver.ReasonClosed, "the driver was stopped"))
	if !p.exited() {
		if err := p.runner.Signal(syscall.SIGTERM); err == nil {
			p.awaitExit(termWait)
		}
	}
	p.kill()
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
}

// killProcess kills the process group, whatever state it is in.
func (p *process) killProcess() {
	ctx, cancel := context.WithTimeout(context.Background(), driverproc.KillTimeout)
	defer cancel()
	if err := p.runner.Kill(ctx); err != nil {
		p.logger.Error("driver process could not be killed", "err", err.Error())
	}
}

// sweep removes what dead hosts left behind.
func sweep(o Options) {
	base, err := driverproc.OpenBase(o.RuntimeDir, os.Getenv)
	if err != nil {
		return // the launch that follows says why, with what to do
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if n, err := base.Sweep(ctx); n > 0 || err != nil {
		o.Logger.Debug("directories of dead hosts", "removed", n, "err", err)
	}
}

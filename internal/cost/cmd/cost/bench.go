// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/parleymq/parley/internal/cost"
	"github.com/parleymq/parley/internal/peertest"
)

const module = "github.com/parleymq/parley/"

// bench is one run of everything.
type bench struct {
	config
	report cost.Report

	top    string // of what is built and written
	worker string
	probes string // directory of the probe
	broker *peertest.RabbitMQ
}

func newBench(ctx context.Context, c config) (_ *bench, err error) {
	b := &bench{config: c}
	if b.drivers, err = filepath.Abs(c.drivers); err != nil {
		return nil, err
	}
	// Short, for a socket's address has little room.
	if b.top, err = os.MkdirTemp("/tmp", "pcost"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	b.worker, b.probes = filepath.Join(b.top, "worker"), filepath.Join(b.top, "probes")
	for _, dir := range []string{b.probes, filepath.Join(b.top, "run")} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return nil, err
		}
	}
	if err := build(ctx, b.worker, "internal/cost/cmd/worker"); err != nil {
		return nil, err
	}
	if err := build(ctx, filepath.Join(b.probes, "parley-driver-fake"), "internal/cost/cmd/probe"); err != nil {
		return nil, err
	}
	if c.rabbit {
		if b.broker, err = peertest.StartRabbitMQ(ctx, nil); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func build(ctx context.Context, file, path string) error {
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", file, module+path).CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", path, err, out)
	}
	return os.Chmod(file, 0o755) //nolint:gosec // a program, whatever the umask is
}

func (b *bench) close() {
	if b.broker != nil {
		if err := b.broker.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "cost:", err)
		}
	}
	_ = os.RemoveAll(b.top) // it is in the directory for temporary files
}

// kind is a kind of transport.
type kind struct {
	what  string
	setup cost.Setup
}

func (b *bench) kind(what, url string, change func(*cost.Setup)) kind {
	k := kind{what: what, setup: cost.Setup{
		URL: url, DriverPath: b.drivers, TrustLock: true,
		RuntimeDir: filepath.Join(b.top, "run"), LockFile: filepath.Join(b.top, "parley.lock"),
	}}
	if change != nil {
		change(&k.setup)
	}
	return k
}

func (b *bench) probe(s *cost.Setup) {
	s.DriverPath, s.Probe = b.probes, true
	s.LockFile = filepath.Join(b.top, "probe.lock") // it is another file of the same name
}

func (b *bench) measure(ctx context.Context) error {
	fake, rabbit := b.kind("fake", "fake://", nil), kind{}
	starts := []kind{
		b.kind("in process, no driver", cost.InProcess, nil),
		b.kind("fake, trust off", "fake://", func(s *cost.Setup) { s.TrustLock = false }),
		b.kind("fake, trust lock", "fake://", nil),
		b.kind("fake, trust lock, AutoMTLS", "fake://", func(s *cost.Setup) { s.AutoMTLS = true }),
	}
	if b.broker != nil {
		rabbit = b.kind("rabbit", b.broker.URL("/"), nil)
		starts = append(starts, b.kind("rabbit, trust lock", b.broker.URL("/"), nil))
	}
	if err := b.starts(ctx, starts); err != nil {
		return err
	}
	idle := []kind{b.kind("without", "", nil), b.kind("in process", cost.InProcess, nil), fake}
	probe := b.kind("fake", "fake://", b.probe)
	units := []func() error{
		func() error { return b.unit("listener, fake", probe, b.listenerOrder) },
		func() error { return b.unit("waiting call, fake", probe, b.waitingOrder) },
	}
	if b.broker != nil {
		idle = append(idle, rabbit)
		units = append(units,
			func() error { return b.unit("listener, rabbit", rabbit, b.listenerOrder) },
			func() error { return b.unit("waiting call, rabbit", rabbit, b.waitingOrder) })
	}
	for _, k := range idle {
		if err := b.idle(k); err != nil {
			return err
		}
	}
	for _, measure := range units {
		if err := errors.Join(measure(), ctx.Err()); err != nil {
			return err
		}
	}
	return nil
}

// starts lets the kinds alternate, since the machine's speed drifts. The first round is not
// counted: files are read into memory, and checksums are recorded.
func (b *bench) starts(ctx context.Context, kinds []kind) error {
	all := make([]cost.Start, len(kinds))
	for round := range b.runs + 1 {
		for i, k := range kinds {
			all[i].What = k.what
			w, started, took, err := startWorker(b.worker, k.setup)
			if err == nil {
				err = w.close()
			}
			if err = errors.Join(err, ctx.Err()); err != nil {
				return fmt.Errorf("start, %s: %w", k.what, err)
			}
			if round > 0 {
				all[i].Add(took, started)
			}
		}
	}
	b.report.Starts = all
	return nil
}

// once starts a worker, lets do ask it, and ends it.
func (b *bench) once(k kind, do func(*worker) error) error {
	w, _, _, err := startWorker(b.worker, k.setup)
	if err != nil {
		return fmt.Errorf("%s: %w", k.what, err)
	}
	if err := errors.Join(do(w), w.close()); err != nil {
		return fmt.Errorf("%s: %w", k.what, err)
	}
	return nil
}

func (b *bench) idle(k kind) error {
	return b.once(k, func(w *worker) error {
		m, err := w.order(cost.Order{})
		if err != nil {
			return err
		}
		b.report.Idle = append(b.report.Idle, cost.Idle{What: "application, transport: " + k.what, Usage: m.App})
		if m.Driver.PSS > 0 {
			b.report.Idle = append(b.report.Idle, cost.Idle{What: "driver: " + k.what, Usage: m.Driver},
				cost.Idle{What: "guards of it", Usage: m.Guards})
		}
		return nil
	})
}

func (b *bench) listenerOrder(share int) (cost.Order, int) {
	n := b.listeners / share
	return cost.Order{Listeners: n}, n
}

func (b *bench) waitingOrder(share int) (cost.Order, int) {
	n := b.waiting / share
	return cost.Order{Waiting: n}, n
}

// unit measures a tenth and the whole.
func (b *bench) unit(what string, k kind, order func(share int) (cost.Order, int)) error {
	return b.once(k, func(w *worker) error {
		few, before := order(10)
		u := cost.Unit{What: what}
		var err error
		if u.Few, err = w.order(few); err != nil {
			return err
		}
		many, after := order(1)
		if u.Many, err = w.order(many); err != nil {
			return err
		}
		u.N = after - before
		b.report.Units = append(b.report.Units, u)
		return nil
	})
}

// boundary runs the benchmark of the boundary alone and returns its lines.
func boundary(ctx context.Context) ([]string, error) {
	args := []string{"test", "-run", "^$", "-bench", "Boundary", "-benchtime", "2s", module + "internal/bridge"}
	out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("benchmark of the boundary: %w\n%s", err, out)
	}
	var lines []string
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "Benchmark") {
			lines = append(lines, strings.TrimRight(line, "\n"))
		}
	}
	if len(lines) == 0 {
		lines = []string{"NOT MEASURED: internal/bridge has no benchmark of that name"}
	}
	return lines, nil
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/parleymq/parley/internal/bench"
	"github.com/parleymq/parley/internal/peertest"
)

// solo is a contender of one process.
type solo struct {
	title string
	*worker
}

func startSolo(title string, program []string, role string, s bench.Setup) (*solo, error) {
	s.Role = role
	w, err := startWorker(program, s)
	return &solo{title, w}, err
}

func (p *solo) name() string { return p.title }

func (p *solo) run(_ context.Context, load bench.Load) (bench.Result, error) {
	var r bench.Result
	err := p.ask(load, &r)
	return r, err
}

func (p *solo) pids() []int { return []int{p.cmd.Process.Pid} }

// notifications is what they are compared with: a broker, a virtual host of its own for each kind
// of queue, and the queue.
type notifications struct {
	*field
	setup    bench.Setup
	vhost    string
	topology *bench.Topology
	open     []contender
}

// notifyReport is what was found.
type notifyReport struct {
	Transient, Durable bench.Report // of the notifiers, by the kind of queue
	Listeners          bench.Report
	Backlog            *backlog
}

// compareNotifications is -notify.
func compareNotifications(ctx context.Context, c config, f *field) error {
	var report notifyReport
	fmt.Printf("notifications over rabbit, %d bytes of payload, %d rounds of %g s each\n", c.size, c.rounds, c.seconds)
	for _, kind := range []struct {
		title   string
		durable bool
		report  *bench.Report
	}{{"queues that are not durable, as is the default", false, &report.Transient}, {"durable queues", true, &report.Durable}} {
		if err := f.notifications(ctx, kind.durable, func(n *notifications) error { return n.notifiers(ctx, kind.title, kind.report) }); err != nil {
			return err
		}
	}
	err := f.notifications(ctx, true, func(n *notifications) error { return n.listeners(ctx, &report.Listeners) })
	if err != nil {
		return err
	}
	if c.backlog > 0 {
		err = f.notifications(ctx, true, func(n *notifications) error {
			report.Backlog, err = n.backlog(ctx, c.backlog)
			return err
		})
	}
	return errors.Join(err, write(c.json, report))
}

// notifications lets do have a virtual host.
func (f *field) notifications(ctx context.Context, durable bool, do func(*notifications) error) (err error) {
	vhost := fmt.Sprintf("notify%d", time.Now().UnixNano())
	if err := f.broker.AddVhost(ctx, vhost); err != nil {
		return err
	}
	n := &notifications{field: f, setup: f.setup, vhost: vhost}
	n.setup.URL, n.setup.Durable = f.broker.URL(vhost), durable
	if n.topology, err = bench.NewTopology(n.setup); err != nil {
		return err
	}
	defer func() {
		for _, k := range n.open {
			err = errors.Join(err, k.close())
		}
		err = errors.Join(err, n.topology.Close(), f.broker.DeleteVhost(context.WithoutCancel(ctx), vhost))
	}()
	return do(n)
}

// add starts a contender.
func (n *notifications) add(title string, program []string, role string) (*solo, error) {
	s, err := startSolo(title, program, role, n.setup)
	if err == nil {
		n.open = append(n.open, s)
	}
	return s, err
}

// notifiers compares those that notify, at each load. The queue is emptied before each measurement.
func (n *notifications) notifiers(ctx context.Context, title string, report *bench.Report) error {
	python, err := peertest.FindPython(peertest.OsloNewest)
	if err != nil {
		return err
	}
	for _, k := range []struct {
		title, role string
		program     []string
	}{
		{"raw", "raw-notifier", []string{n.worker}},
		{"parley", "parley-notifier", []string{n.worker}},
		{"python " + peertest.OsloNewest, "python-notifier", []string{python.Path, "-c", bench.Notify}},
	} {
		if !n.wants(k.title) || k.role == "python-notifier" && !n.python {
			continue
		}
		if _, err := n.add(k.title, k.program, k.role); err != nil {
			return err
		}
	}
	inFlight, err := numbers("in-flight", n.loads)
	if err != nil {
		return err
	}
	for _, many := range append([]int{0}, inFlight...) {
		load := bench.Load{InFlight: many, Seconds: n.seconds}
		if err := n.alternate(ctx, load, report, n.topology.Purge); err != nil {
			return err
		}
		what := "one goroutine that does not wait for each (Python: one thread that does)"
		if many > 0 {
			what = fmt.Sprintf("%d goroutines or threads that wait for each", many)
		}
		report.PrintAs(os.Stdout, load, "notifications", what+"; "+title)
	}
	return nil
}

// alternate lets the contenders alternate; before comes before each measurement.
func (n *notifications) alternate(ctx context.Context, load bench.Load, report *bench.Report, before func() error) error {
	for round := range n.rounds + 1 {
		for _, k := range n.open {
			l := load
			if round == 0 {
				l.Seconds = min(1, load.Seconds) // warm up
			}
			if err := before(); err != nil {
				return err
			}
			m, err := measure(ctx, k, l, n.brokerPIDs())
			if err != nil {
				return fmt.Errorf("%s: %w", k.name(), err)
			}
			if l.Count > 0 && m.Result.Calls != l.Count {
				return fmt.Errorf("%s: %d of %d were handled: %s", k.name(), m.Result.Calls, l.Count, m.Result.Error)
			}
			if m.Load = load; round > 0 {
				report.Add(m)
			}
		}
	}
	return nil
}

// listeners compares those that listen: each finds so many notifications waiting.
func (n *notifications) listeners(ctx context.Context, report *bench.Report) error {
	filler, err := startSolo("filler", []string{n.worker}, "raw-notifier", n.setup)
	if err != nil {
		return err
	}
	for _, k := range [][2]string{{"raw", "raw-listener"}, {"parley", "parley-listener"}, {"parley, batches", "parley-batches"}} {
		if !n.wants(k[0]) {
			continue
		}
		if _, err := n.add(k[0], []string{n.worker}, k[1]); err != nil {
			return errors.Join(err, filler.close())
		}
	}
	load := bench.Load{Count: n.drain}
	err = n.alternate(ctx, load, report, func() error { return n.fill(ctx, filler, n.drain) })
	if err != nil {
		return errors.Join(err, filler.close())
	}
	report.PrintAs(os.Stdout, load, "handled", fmt.Sprintf("a listener that finds %d notifications, durable queue; batches of 100", n.drain))
	return filler.close()
}

// fill puts so many notifications into the queue, and nothing else is in it.
func (n *notifications) fill(ctx context.Context, filler *solo, count int) error {
	if err := n.topology.Purge(); err != nil {
		return err
	}
	r, err := filler.run(ctx, bench.Load{Count: count})
	if err != nil {
		return err
	}
	if waiting, err := n.topology.Waiting(); err != nil || waiting != count {
		return errors.Join(err, fmt.Errorf("%d notifications are in the queue, want %d: %s", waiting, count, r.Error))
	}
	return nil
}

// backlog is what a listener takes that starts far behind.
type backlog struct {
	Count   int      `json:"count"`
	Seconds float64  `json:"seconds"`
	Samples []sample `json:"samples"`
}

// sample is the memory of an application and of its driver, in bytes.
type sample struct {
	After  float64 `json:"after_s"`
	App    int64   `json:"app_pss"`
	Driver int64   `json:"driver_pss"`
}

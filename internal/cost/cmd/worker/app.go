// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/parleymq/parley/internal/cost"
	"github.com/parleymq/parley/internal/procfs"
	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/messaging/messagingtest"
)

const (
	// orderTimeout bounds an order: a thousand listeners on a broker take their time.
	orderTimeout = time.Minute
	// settleTime is how long what was begun may end before it is measured: late results, timers.
	settleTime   = 300 * time.Millisecond
	closeTimeout = 20 * time.Second
	// longCall is longer than any measurement.
	longCall = 10 * time.Minute
)

type ping struct {
	N int `json:"n"`
}

func pingMethod() messaging.Method[ping, int] { return messaging.Method[ping, int]{Name: "ping"} }

// app is the application that is measured.
type app struct {
	setup     cost.Setup
	log       *probeLog
	host      *messaging.Host
	transport *messaging.Transport
	client    *messaging.RPCClient

	servers []*messaging.RPCServer
	serving sync.WaitGroup
	waiting int
	calls   sync.WaitGroup
	giveUp  context.CancelFunc // ends the waiting calls
	calling context.Context    // of the waiting calls
}

// start makes the application, up to the first call that was answered.
func start(ctx context.Context, s cost.Setup) (*app, cost.Started, error) {
	ctx, cancel := context.WithTimeout(ctx, orderTimeout)
	defer cancel()
	a := &app{setup: s, log: newProbeLog()}
	a.calling, a.giveUp = context.WithCancel(context.WithoutCancel(ctx))
	if s.URL == "" {
		return a, cost.Started{}, nil
	}
	var took cost.Started
	lap := time.Now()
	since := func() (d time.Duration) {
		now := time.Now()
		d, lap = now.Sub(lap), now
		return d
	}
	var err error
	if err = a.open(ctx); err != nil {
		return nil, took, err
	}
	took.Open = since()
	if err := a.serve(ctx, 1); err != nil {
		return nil, took, errors.Join(err, a.close())
	}
	took.Serve = since()
	a.client = messaging.NewRPCClient(a.transport, messaging.Target{Topic: topic(0)}, &messaging.RPCClientOptions{Timeout: orderTimeout})
	if got, err := pingMethod().Call(ctx, a.client, ping{1}); err != nil || got != 1 {
		return nil, took, errors.Join(fmt.Errorf("the first call was answered %d", got), err, a.close())
	}
	took.Call = since()
	return a, took, nil
}

func (a *app) open(ctx context.Context) (err error) {
	s := a.setup
	o := &messaging.Options{AppName: "cost", Logger: slog.New(a.log)}
	if s.URL == cost.InProcess {
		a.transport, err = messagingtest.NewBroker().Open(ctx, o)
		return err
	}
	h := &messaging.HostOptions{
		DriverPath: []string{s.DriverPath}, RuntimeDir: s.RuntimeDir, LockFile: s.LockFile,
		Trust: messaging.TrustOff, AutoMTLS: s.AutoMTLS, Logger: o.Logger,
	}
	if s.TrustLock {
		h.Trust = messaging.TrustLock
	}
	a.host = messaging.NewHost(h)
	o.Host = a.host
	a.transport, err = messaging.Open(ctx, s.URL, o)
	return err
}

func topic(i int) string { return "cost_" + strconv.Itoa(i) }

// serve starts servers, each with a topic of its own, until there are n.
func (a *app) serve(ctx context.Context, n int) error {
	failed := make(chan error, max(n, 1))
	var starting []*messaging.RPCServer
	for i := len(a.servers); i < n; i++ {
		ep := messaging.NewEndpoint(nil)
		pingMethod().Handle(ep, func(_ context.Context, p ping) (int, error) { return p.N, nil })
		s := messaging.NewRPCServer(a.transport, messaging.Target{Topic: topic(i), Server: "one"}, nil, ep)
		a.servers = append(a.servers, s)
		starting = append(starting, s)
		a.serving.Go(func() {
			if err := s.Serve(context.WithoutCancel(ctx)); !errors.Is(err, messaging.ErrServerClosed) {
				failed <- err
			}
		})
	}
	for _, s := range starting {
		select {
		case <-s.Ready():
		case err := <-failed:
			return fmt.Errorf("serve: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("servers are not ready: %w", ctx.Err())
		}
	}
	return nil
}

// wait begins calls to a topic that nobody serves, until n wait for their answer.
func (a *app) wait(ctx context.Context, n int) error {
	failed := make(chan error, max(n, 1))
	nobody := a.client.With(messaging.Topic("cost_nobody"), messaging.Timeout(longCall))
	for ; a.waiting < n; a.waiting++ {
		a.calls.Go(func() {
			if _, err := pingMethod().Call(a.calling, nobody, ping{1}); a.calling.Err() == nil {
				failed <- err
			}
		})
	}
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for a.transport.Stats().Waiting < n {
		select {
		case <-look.C:
		case err := <-failed:
			return fmt.Errorf("a call ended: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("%d of %d calls wait: %w", a.transport.Stats().Waiting, n, ctx.Err())
		}
	}
	return nil
}

// do follows an order and measures.
func (a *app) do(ctx context.Context, o cost.Order) (cost.Measured, error) {
	ctx, cancel := context.WithTimeout(ctx, orderTimeout)
	defer cancel()
	if err := a.serve(ctx, o.Listeners); err != nil {
		return cost.Measured{}, err
	}
	if o.Waiting > 0 {
		if err := a.wait(ctx, o.Waiting); err != nil {
			return cost.Measured{}, err
		}
	}
	settled := time.NewTimer(settleTime)
	defer settled.Stop()
	<-settled.C
	return a.measure(ctx)
}

func (a *app) measure(ctx context.Context) (m cost.Measured, err error) {
	if driver := a.driver(); driver != 0 {
		goroutines := 0
		if a.setup.Probe {
			if goroutines, err = a.log.ask(ctx, driver); err != nil {
				return m, err
			}
		}
		if m.Driver, err = cost.UsageOf(driver); err != nil {
			return m, err
		}
		m.Driver.Goroutines = goroutines
		if m.Guards, err = guards(driver); err != nil {
			return m, err
		}
	}
	debug.FreeOSMemory()
	if m.App, err = cost.UsageOf(os.Getpid()); err != nil {
		return m, err
	}
	m.App = m.App.WithRuntime()
	return m, nil
}

// driver is the process of the driver, or 0.
func (a *app) driver() int {
	if a.host == nil {
		return 0
	}
	for _, r := range a.host.Running() {
		return r.PID
	}
	return 0
}

// guards is what the other processes hold that the host started beside a driver.
func guards(driver int) (sum cost.Usage, err error) {
	for pid, s := range procfs.All() {
		if s.Parent != os.Getpid() || pid == driver || s.State == 'Z' {
			continue
		}
		u, err := cost.UsageOf(pid)
		if err != nil {
			return sum, err
		}
		sum = sum.Plus(u)
	}
	return sum, nil
}

// close ends everything, in bounded time.
func (a *app) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	a.giveUp()
	a.calls.Wait()
	if a.transport == nil {
		return nil
	}
	errs := make(chan error, len(a.servers))
	for _, s := range a.servers {
		go func() { errs <- s.Shutdown(ctx) }()
	}
	var all error
	for range a.servers {
		all = errors.Join(all, <-errs)
	}
	all = errors.Join(all, a.transport.Close(ctx))
	a.serving.Wait()
	return all
}

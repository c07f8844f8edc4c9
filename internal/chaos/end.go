// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

const (
	// concurrency is that of each server.
	concurrency = 16
	// closeTimeout bounds what is closed when nothing is broken any more.
	closeTimeout = 20 * time.Second
	// The watchdog, quicker than by default, so that there is time for many stops.
	heartbeatInterval = 200 * time.Millisecond
	startTimeout      = 5 * time.Second
)

// driverFile is the name of the driver in an end's directory.
const driverFile = "parley-driver-rabbit"

// end is one of the two applications.
type end struct {
	name  string
	bed   testbed.Bed // its driver's directory, and that of its sockets
	proxy *peertest.AMQPProxy
	host  *messaging.Host
	// Two transports that share one driver process.
	clients, servers *messaging.Transport
	slow             slowness
	log              *slog.Logger
	ledger           *ledger
	sabotage         *sabotage
	running          []*serving
}

// callTopic and castTopic are what the end of that name serves.
func callTopic(end string) string { return "call." + end }
func castTopic(end string) string { return "cast." + end }

// openEnd starts an end with its servers.
func openEnd(ctx context.Context, name string, r *runner) (_ *end, err error) {
	dir := filepath.Join(r.top, name)
	e := &end{
		name: name, ledger: r.ledger, log: r.opts.Logger.With("end", name), sabotage: &r.sabotage,
		bed: testbed.Bed{Drivers: filepath.Join(dir, "drivers"), Runtime: filepath.Join(dir, "run")},
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("open end %s: %w", name, err), e.close())
		}
	}()
	for _, d := range []string{dir, e.bed.Drivers, e.bed.Runtime} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return nil, err
		}
	}
	if err := e.install(r.opts.Driver); err != nil {
		return nil, err
	}
	if e.proxy, err = peertest.StartAMQPProxy(r.broker.Addr()); err != nil {
		return nil, err
	}
	e.host = messaging.NewHost(&messaging.HostOptions{
		DriverPath: []string{e.bed.Drivers}, RuntimeDir: e.bed.Runtime, Logger: e.log, Trust: messaging.TrustOff,
		Supervision: messaging.Supervision{
			StartTimeout: startTimeout, HeartbeatInterval: heartbeatInterval, HeartbeatTimeout: r.opts.HeartbeatTimeout,
			BackoffMax: time.Second, StableTime: 2 * time.Second, DrainTimeout: 5 * time.Second, ProbationTime: 5 * time.Second,
			BreakerFailures: -1, // it is us who kill them
		},
	})
	url := r.broker.URLAt(e.proxy.Addr(), "/") + "?amqp_durable_queues=true&rabbit_retry_interval=0.25&rabbit_retry_backoff=0&rabbit_interval_max=1" +
		"&rabbit_confirm_acks=" + strconv.FormatBool(r.opts.ConfirmAcks)
	open := func() (*messaging.Transport, error) {
		return messaging.Open(ctx, url, &messaging.Options{Host: e.host, Logger: e.log, AppName: "chaos-" + name})
	}
	if e.clients, err = open(); err != nil {
		return nil, err
	}
	if e.servers, err = open(); err != nil {
		return nil, err
	}
	for _, s := range e.serve(name, "main") {
		e.running = append(e.running, s)
		if err := s.ready(ctx); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// install puts a copy of the driver where the end finds it, as a new file.
func (e *end) install(from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // it was only read
	out, err := os.CreateTemp(e.bed.Drivers, "new-*")
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Chmod(0o755), out.Close()); err != nil {
		return err
	}
	return os.Rename(out.Name(), filepath.Join(e.bed.Drivers, driverFile))
}

// close ends the end. It is no error that it has not begun.
func (e *end) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	var err error
	for _, s := range e.running {
		err = errors.Join(err, s.stop(ctx))
	}
	for _, t := range []*messaging.Transport{e.clients, e.servers} {
		if t != nil {
			err = errors.Join(err, t.Close(ctx))
		}
	}
	if e.proxy != nil {
		err = errors.Join(err, e.proxy.Close())
	}
	return err
}

// driver is the process of the driver that is used, 0 while there is none.
func (e *end) driver() int {
	for _, d := range e.host.Running() {
		return d.PID
	}
	return 0
}

// starts is how many driver processes were ready so far.
func (e *end) starts() int {
	for _, d := range e.host.Running() {
		return d.Starts
	}
	return 0
}

// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"go.uber.org/goleak"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/internal/testbed"
)

const (
	// steady bounds the waits for calls to go through while nothing is broken.
	steady = 30 * time.Second
	// goneLimit bounds the wait for what was closed to be gone.
	goneLimit = 5 * time.Second
	// faultEvery is the time for one fault of each kind.
	faultEvery = 5750 * time.Millisecond
	// forgetEvery is how often the proxies forget what they recorded.
	forgetEvery = 100 * time.Millisecond
)

// Options are the settings of a run. Zero fields mean the default.
type Options struct {
	// Driver is the file of the rabbit driver.
	Driver string
	// Broker is a Plain node that is this run's alone meanwhile. Default: one is started.
	Broker *peertest.RabbitMQ
	// Duration is how long faults are made. Default: 10 minutes.
	Duration time.Duration
	// PerKind is how many faults of each kind are made, half of them at each end; of KillBroker
	// it is a tenth.
	// Default: 104 in 10 minutes, so that each end gets more than 50, and at least 2.
	PerKind int
	// Seed makes the plan. Default: one of chance; the report has it.
	Seed uint64
	// Callers and Senders are those of each end. Defaults: 6 and 3.
	Callers, Senders int
	// HeartbeatTimeout is how long a driver may be silent. Default: 1 second.
	HeartbeatTimeout time.Duration
	// Slack is how much later than its time a caller may return. Default: 1 second.
	Slack time.Duration
	// Strict takes a call that two servers ran, because the first one's acknowledgement was lost
	// with its connection, for a broken promise too.
	Strict bool
	// ConfirmAcks lets the drivers prove acknowledgements (rabbit_confirm_acks), so that there
	// are no such calls while the broker lives.
	ConfirmAcks bool
	// Only are the kinds of fault to make. Default: all.
	Only []Kind
	// Sabotage breaks promises on purpose; see Sabotages.
	Sabotage []string
	// Logger takes the records of hosts and drivers, and each fault. Default: none.
	Logger *slog.Logger

	// drainLimit bounds the wait for accepted casts to be run, when all is healed: a minute.
	drainLimit time.Duration
}

func (o Options) withDefaults() Options {
	if o.Duration <= 0 {
		o.Duration = 10 * time.Minute
	}
	if o.PerKind <= 0 {
		o.PerKind = max(2, int(o.Duration/faultEvery))
	}
	if o.Seed == 0 {
		o.Seed = uint64(time.Now().UnixNano())
	}
	if o.Callers <= 0 {
		o.Callers = 6
	}
	if o.Senders <= 0 {
		o.Senders = 3
	}
	if o.HeartbeatTimeout <= 0 {
		o.HeartbeatTimeout = time.Second
	}
	if o.Slack <= 0 {
		o.Slack = time.Second
	}
	if len(o.Only) == 0 {
		o.Only = Kinds()
	}
	if o.drainLimit <= 0 {
		o.drainLimit = time.Minute
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// runner is one run.
type runner struct {
	opts     Options
	top      string // directory of everything
	broker   *peertest.RabbitMQ
	onBroker sync.Mutex // held while it is taken down and up
	ends     []*end
	ledger   *ledger
	load     *load
	faults   faultLog
	sabotage sabotage
	report   *Report
}

// Run makes the faults and judges. Its error is that of a run that could not be made; broken
// promises are in the report.
func Run(ctx context.Context, o Options) (*Report, error) {
	r := &runner{opts: o.withDefaults(), ledger: newLedger()}
	if err := r.sabotage.plan(r.opts.Sabotage); err != nil {
		return nil, err
	}
	r.report = &Report{Seed: r.opts.Seed, Duration: r.opts.Duration}
	var err error
	// Short, for a socket's address has little room.
	if r.top, err = os.MkdirTemp("/tmp", "pc"); err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(r.top) }() // what matters in it is in the report
	if r.broker = r.opts.Broker; r.broker == nil {
		if r.broker, err = peertest.StartRabbitMQ(ctx, &peertest.RabbitMQOptions{Plain: true}); err != nil {
			return nil, err
		}
		defer func() { _ = r.broker.Close() }()
	}
	if err := r.measured(ctx); err != nil {
		return nil, err
	}
	r.judge()
	return r.report, nil
}

// measured is the run from nothing to nothing, so that what it leaves shows.
func (r *runner) measured(ctx context.Context) error {
	before, ignore, files := runtime.NumGoroutine(), goleak.IgnoreCurrent(), testbed.Files(os.Getpid())
	err := r.open(ctx)
	if err == nil {
		err = r.disturbed(ctx)
	}
	for _, e := range r.ends {
		r.report.DriverStarts += e.starts()
		if closing := e.close(); closing != nil {
			r.report.broken("end %s does not close: %v", e.name, closing)
		}
	}
	if err != nil || len(r.ends) == 0 {
		return err
	}
	if err := r.sabotage.atEnd(r.ends[0].bed.Runtime); err != nil {
		return err
	}
	r.report.GoroutinesBefore, r.report.FilesBefore = before, files
	r.lookForLeft(before, files, ignore)
	return nil
}

func (r *runner) open(ctx context.Context) error {
	for _, name := range []string{"client", "server"} {
		e, err := openEnd(ctx, name, r)
		if err != nil {
			return err
		}
		r.ends = append(r.ends, e)
	}
	return nil
}

// disturbed is the run while there is load.
func (r *runner) disturbed(ctx context.Context) error {
	stopForgetting := r.forgetRecords()
	defer stopForgetting()
	r.startLoad()
	defer r.load.stop(callTimeout + castTimeout)
	if !r.answeredWithin(steady) {
		return errors.New("no calls go through before the first fault")
	}
	r.makeFaults(ctx)
	if err := r.heal(); err != nil {
		return err
	}
	if !r.answeredWithin(steady) {
		r.report.broken("no calls go through %v after the last fault", steady)
	}
	r.load.stop(callTimeout + castTimeout)
	testbed.Wait(r.opts.drainLimit, func() bool { unreturned, unrun := r.ledger.waiting(); return unreturned+unrun == 0 })
	return nil
}

// forgetRecords keeps the proxies from recording the whole run.
func (r *runner) forgetRecords() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var forgetting sync.WaitGroup
	forgetting.Go(func() {
		for ctx.Err() == nil {
			for _, e := range r.ends {
				e.proxy.Reset()
			}
			pause(ctx, forgetEvery)
		}
	})
	return func() { cancel(); forgetting.Wait() }
}

// answeredWithin waits for a call in each direction that begins from now on.
func (r *runner) answeredWithin(d time.Duration) bool {
	at := r.ledger.now()
	return testbed.Wait(d, func() bool {
		for _, e := range r.ends {
			if !r.ledger.answeredSince(e.name, at) {
				return false
			}
		}
		return true
	})
}

// heal ends what a fault that was cut short has left.
func (r *runner) heal() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, e := range r.ends {
		e.proxy.Resume()
		e.slow.set(0, 0, false)
	}
	if r.broker.PID() == 0 {
		if err := r.broker.Restart(ctx); err != nil {
			return fmt.Errorf("heal the broker: %w", err)
		}
	}
	return nil
}

// brokerGoroutines are those of the broker that was started in the place of a killed one: one
// waits for it and one reads its output.
func brokerGoroutines() []goleak.Option {
	return []goleak.Option{
		goleak.IgnoreAnyFunction("github.com/parleymq/parley/internal/peertest.startProcess.func1"),
		goleak.IgnoreAnyFunction("os/exec.(*Cmd).writerDescriptor.func1"),
	}
}

// lookForLeft notes what is there when all is closed.
func (r *runner) lookForLeft(goroutines, files int, ignore goleak.Option) {
	rep := r.report
	testbed.Wait(goneLimit, func() bool {
		rep.Left = nil
		for _, e := range r.ends {
			rep.Left = append(rep.Left, e.bed.Left()...)
		}
		rep.GoroutinesAfter, rep.FilesAfter = runtime.NumGoroutine(), testbed.Files(os.Getpid())
		return len(rep.Left) == 0 && rep.GoroutinesAfter <= goroutines && rep.FilesAfter <= files
	})
	if len(rep.Left) > 0 {
		rep.broken("left behind: %v", rep.Left)
	}
	// By what they are, not by their number: others may have ended meanwhile.
	if err := goleak.Find(append(brokerGoroutines(), ignore)...); err != nil {
		rep.GoroutinesLeft = strings.Count(err.Error(), "Goroutine ")
		rep.broken("%d goroutines are left: %v", rep.GoroutinesLeft, err)
	}
	if grown := rep.FilesAfter - files; grown > 0 {
		rep.broken("%d files of this process are left open", grown)
	}
}

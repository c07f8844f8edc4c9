// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/plugin/driver"
)

type benchFlags struct {
	benchLoad
	url        urlFlags
	target     targetFlags
	method     string
	withServer bool
}

// benchLoad is what all benchmarks are told of the load.
type benchLoad struct {
	inFlight int
	duration time.Duration
	calls    int64
	size     int
	warmUp   time.Duration
	timeout  time.Duration
}

// add defines the flags; noun is what there are many of.
func (f *benchLoad) add(flags *pflag.FlagSet, noun, payload string) {
	flags.IntVar(&f.inFlight, "in-flight", 32, noun+" in flight at once")
	addDuration(flags, &f.duration, "duration", 10*time.Second, "how long to measure")
	flags.Int64Var(&f.calls, noun, 0, "measure so many "+noun+", however long they take")
	flags.IntVar(&f.size, "size", 100, "bytes of the "+payload)
	addDuration(flags, &f.warmUp, "warm-up", time.Second, "how long to run before measuring")
	addDuration(flags, &f.timeout, "timeout", 10*time.Second, "limit for one of the "+noun+", and for the start")
}

func (a *app) benchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure calls and notifications",
		Long: `Bench sends calls as fast as they are answered, or notifications as fast as they are accepted,
and reports how many there were, how long they took and what they cost. On a machine that does other things as well, compare only runs
that were made in turns.`,
		Example: `  parley bench rpc --with-server
  parley bench rpc --topic demo --in-flight 1 --duration 30s -o json
  parley bench notify --with-listener`,
		RunE: noCommand,
	}
	cmd.AddCommand(a.benchRPCCommand(), a.benchNotifyCommand())
	return cmd
}

func (a *app) benchRPCCommand() *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "rpc [flags]",
		Short: "Measure calls to a server that echoes",
		Long: `Rpc keeps a number of calls in flight for a time, or until so many were made, and prints calls
a second, how long a call took (exactly, from every call), and the processor time of this
program, its driver and, where it started one, the server. What happens while it warms up
does not count.

The server is any with a method that returns its arguments: "parley serve --echo" on the same
topic, or with --with-server one that is started for the run in a process of its own. Without
--topic that one gets a random topic that is gone afterwards.`,
		Example: `  parley bench rpc --with-server
  parley bench rpc --with-server --in-flight 1 --calls 5000 --size 10000
  parley bench rpc --topic demo --server one --duration 1m -o json`,
		Args: exactArgs(),
	}
	f.url.add(cmd)
	f.target.add(cmd)
	flags := cmd.Flags()
	flags.Lookup("topic").Usage = "topic of the service (required without --with-server)"
	flags.StringVar(&f.method, "method", "echo", "method to call, with one argument: data, a text")
	f.add(flags, "calls", "argument")
	flags.BoolVar(&f.withServer, "with-server", false, "start a server for the run")
	cmd.RunE = a.begin(func(ctx context.Context, _ []string) error { return a.benchRPC(ctx, &f) })
	return cmd
}

// maxInFlight keeps a typing error from taking the machine down.
const maxInFlight = 100_000

func (f *benchFlags) check() error {
	switch {
	case f.target.target.Topic == "" && !f.withServer:
		return usagef("name the service with --topic, or start one with --with-server", "no topic is given")
	case f.withServer:
		if err := checkInterface(f.target.target); err != nil {
			return err
		}
	}
	return f.benchLoad.check("calls")
}

func (f *benchLoad) check(noun string) error {
	switch {
	case f.inFlight < 1 || f.inFlight > maxInFlight:
		return usagef("give a number from 1 to 100000", "--in-flight is %d", f.inFlight)
	case f.size < 0:
		return usagef("give a number of bytes", "--size is %d", f.size)
	case f.calls < 0 || f.calls == 0 && f.duration <= 0:
		return usagef("give --"+noun+" or --duration a number above zero", "there is nothing to measure")
	case f.timeout <= 0:
		return usagef("give a time such as --timeout 5s", "the timeout is zero")
	default:
		return nil
	}
}

func (a *app) benchRPC(ctx context.Context, f *benchFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	raw, err := a.transportURL(&f.url)
	if err != nil {
		return err
	}
	if raw, err = a.benchTopic(ctx, f, raw); err != nil {
		return err
	}
	opening, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	s, err := a.open(opening, a.host(), raw)
	if err != nil {
		return err
	}
	defer s.close()
	server := &benchServer{}
	if f.withServer {
		if server, err = a.startServer(opening, f, s.Transport, raw); err != nil {
			return err
		}
		defer server.stop()
	}
	figures, err := a.measure(ctx, f, s, server.pid)
	if figures == nil {
		return err
	}
	if printErr := a.printFigures(figures); printErr != nil {
		return printErr
	}
	return err
}

// benchTopic chooses a topic when a server is started and none is named, and returns the URL
// that leaves nothing of it behind.
func (a *app) benchTopic(ctx context.Context, f *benchFlags, raw string) (string, error) {
	target := &f.target.target
	if target.Topic != "" {
		if f.withServer && target.Server == "" {
			target.Server = "bench"
		}
		return raw, nil
	}
	private := privateTarget("bench")
	target.Exchange, target.Topic, target.Server = private.Exchange, private.Topic, private.Server
	return a.temporaryURL(ctx, raw, f.timeout)
}

// temporaryURL returns the URL with the options that leave nothing behind.
func (a *app) temporaryURL(ctx context.Context, raw string, timeout time.Duration) (string, error) {
	u, err := messaging.ParseURL(raw, a.aliases)
	if err != nil {
		return "", err
	}
	h := a.host()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	info, err := h.Describe(ctx, u.Driver)
	if err != nil {
		return "", a.openError(h, raw, err)
	}
	return temporary(raw, u, info), nil
}

// measure measures calls; see measureLoad.
func (a *app) measure(ctx context.Context, f *benchFlags, s *session, serverPID int) (*figures, error) {
	client := messaging.NewRPCClient(s.Transport, f.target.target, &messaging.RPCClientOptions{
		Timeout: f.timeout, Mandatory: s.Info().Has(driver.CapMandatory),
	})
	args := map[string]any{"data": strings.Repeat("x", f.size)}
	return a.measureLoad(ctx, &f.benchLoad, s, serverPID, &load{noun: "calls", call: func(ctx context.Context) error {
		return client.Call(ctx, f.method, args, nil)
	}})
}

// measureLoad makes a first call, warms up and measures. The figures are nil when there are none;
// an error beside figures is why they are not what was asked for.
func (a *app) measureLoad(ctx context.Context, f *benchLoad, s *session, peerPID int, l *load) (*figures, error) {
	l.inFlight = f.inFlight
	// A peer that is not there shows here, in the words of a call.
	if err := l.call(ctx); err != nil {
		return nil, s.explain(err)
	}
	show := a.startProgress(l)
	defer show.stop()
	if f.warmUp > 0 {
		show.phase("warming up")
		if r := l.run(ctx, f.warmUp, 0); r.interrupted {
			return nil, ctx.Err()
		}
	}
	show.phase("measuring")
	limit := f.duration
	if f.calls > 0 {
		limit = 0
	}
	before := cpuTimes(peerPID)
	r := l.run(ctx, limit, f.calls)
	after := cpuTimes(peerPID)
	show.stop()
	return newFigures(f, s.Transport, r, cpuUsed(before, after)), r.problem(ctx, l.noun)
}

// problem is why a run is not what was asked for, or nil.
func (r *loadResult) problem(ctx context.Context, noun string) error {
	switch {
	case r.interrupted:
		return ctx.Err()
	case r.first != nil:
		return fmt.Errorf("%d of %d %s failed, the first: %w", r.failed(), r.failed()+len(r.latencies), noun, r.first)
	default:
		return nil
	}
}

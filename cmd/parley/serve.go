// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/parleymq/parley/messaging"
)

type serveFlags struct {
	url         urlFlags
	target      targetFlags
	echo        bool
	exec        string
	execTimeout time.Duration
	concurrency int
	drain       time.Duration
}

func (a *app) serveCommand() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve [flags] --echo | --exec CMD",
		Short: "Run a server to try things against",
		Long: `Serve answers calls until it gets SIGINT or SIGTERM; it then takes no more, finishes those
it has and ends with status 0. A second signal ends it at once. SIGHUP, or "parley drivers reload", lets
it replace its driver by the program found then. When it is ready to receive,
it says so on one line of standard error.

With --echo it has four methods: echo returns its arguments, ping returns "pong", sleep waits
(seconds:=N) and fail raises an error (message=TEXT, and optionally module= and class=).

With --exec every method runs CMD in a shell. The arguments come as a JSON object on its
standard input and the method's name in PARLEY_METHOD. What it prints is the result: JSON, or
else a text. A status other than zero is raised at the caller, with the end of its standard
error. CMD and what it started are killed at the caller's deadline, where the broker tells it,
after --exec-timeout, and when a signal's --drain is over.`,
		Example: `  parley serve --topic demo --server one --echo
  parley serve --topic adder --server one --exec 'jq "[.[]] | add"'
  parley serve --topic ops --server "$(hostname)" --concurrency 1 --exec ./handle.sh`,
		Args: exactArgs(),
	}
	f.url.add(cmd)
	f.target.add(cmd)
	flags := cmd.Flags()
	flags.Lookup("server").Usage = "name of this server (required)"
	flags.Lookup("version").Usage = "version of the interface served (default 1.0)"
	flags.BoolVar(&f.echo, "echo", false, "serve echo, ping, sleep and fail")
	flags.StringVar(&f.exec, "exec", "", "command to run for each call")
	addDuration(flags, &f.execTimeout, "exec-timeout", 0, "kill CMD after so long; 0s leaves it to the caller's deadline")
	flags.IntVar(&f.concurrency, "concurrency", messaging.DefaultConcurrency, "calls handled at once")
	addDuration(flags, &f.drain, "drain", messaging.DefaultShutdownTimeout, "how long calls may go on after a signal")
	cmd.RunE = a.begin(func(ctx context.Context, _ []string) error { return a.serve(ctx, &f) })
	return cmd
}

// endpoint checks the flags and makes what is served.
func (f *serveFlags) endpoint(a *app) (*messaging.Endpoint, error) {
	target := f.target.target
	switch {
	case f.echo == (f.exec != ""):
		return nil, usagef("give one of them", "serve needs either --echo or --exec CMD")
	case target.Server == "":
		return nil, usagef("name this server with --server", "no server name is given")
	case f.concurrency < 1:
		return nil, usagef("give a number from 1", "the concurrency is %d", f.concurrency)
	}
	if err := f.target.check(); err != nil {
		return nil, err
	}
	if err := checkInterface(target); err != nil {
		return nil, err
	}
	ep := messaging.NewEndpoint(&messaging.EndpointOptions{Namespace: target.Namespace, Version: target.Version})
	if f.echo {
		serveEcho(ep)
		return ep, nil
	}
	r := execRunner{command: f.exec, timeout: f.execTimeout, logger: a.logger}
	ep.HandleOthers(r.run)
	return ep, nil
}

func (a *app) serve(ctx context.Context, f *serveFlags) error {
	ep, err := f.endpoint(a)
	if err != nil {
		return err
	}
	raw, err := a.transportURL(&f.url)
	if err != nil {
		return err
	}
	h := a.host()
	t, err := messaging.Open(ctx, raw, &messaging.Options{
		Host: h, Aliases: a.aliases, AppName: "parley", Logger: a.logger, OnState: a.logTrouble(ctx),
	})
	if err != nil {
		return a.openError(h, raw, err)
	}
	defer a.closeTransport(ctx, t)
	// Namespace and version are the endpoint's; the server's target has none.
	target := messaging.Target{Exchange: f.target.target.Exchange, Topic: f.target.target.Topic, Server: f.target.target.Server}
	srv := messaging.NewRPCServer(t, target, &messaging.RPCServerOptions{
		Concurrency: f.concurrency, ShutdownTimeout: max(f.drain, time.Millisecond), Ping: true,
	}, ep)
	return a.runServer(ctx, srv, target, t.URL())
}

// logTrouble tells a person at the terminal why nothing is received, each cause once.
func (a *app) logTrouble(ctx context.Context) func(messaging.State) {
	var mu sync.Mutex
	var last string // guarded by mu
	return func(s messaging.State) {
		mu.Lock()
		defer mu.Unlock()
		switch text := s.String(); {
		case s.Phase == messaging.PhaseReady:
			last = ""
		case s.Err != nil && text != last:
			a.logger.WarnContext(ctx, "the broker takes no messages now; waiting for it", "state", text)
			last = text
		}
	}
}

// runServer serves until ctx ends, and announces when it receives.
func (a *app) runServer(ctx context.Context, srv *messaging.RPCServer, target messaging.Target, url *messaging.URL) error {
	err := serveUntil(ctx, srv, func() { a.announce(target, url) })
	if errors.Is(err, messaging.ErrServerClosed) {
		return nil
	}
	return err
}

// serveUntil serves until ctx ends, and calls ready when messages are received.
func serveUntil(ctx context.Context, r receiver, ready func()) error {
	watching, stop := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-r.Ready():
			ready()
		case <-watching.Done():
		}
	}()
	err := r.Serve(ctx)
	stop()
	<-watched
	return err
}

// receiver is a server or a listener.
type receiver interface {
	Serve(ctx context.Context) error
	Ready() <-chan struct{}
}

// startServing serves in the background and returns when messages are received. The function
// returned ends that and waits for it.
func startServing(ctx context.Context, srv receiver) (stop func(), err error) {
	serving, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	var served error // readable once ended is closed
	go func() {
		defer close(ended)
		served = srv.Serve(serving)
	}()
	stop = func() { cancel(); <-ended }
	select {
	case <-srv.Ready():
		return stop, nil
	case <-ended:
		cancel()
		return nil, served
	case <-ctx.Done():
		stop()
		return nil, unavailable(ctx.Err())
	}
}

// announcement is the line that says that a server receives.
type announcement struct {
	Event  string `json:"event"`
	Topic  string `json:"topic"`
	Server string `json:"server"`
	URL    string `json:"url"`
}

const eventConsuming = "consuming"

// announce says that requests are received: what is sent from now on arrives.
func (a *app) announce(target messaging.Target, url *messaging.URL) {
	if a.json() {
		// A server does not end because nobody reads its standard error.
		_ = printJSON(a.stderr, announcement{eventConsuming, target.Topic, target.Server, url.String()})
		return
	}
	say(a.stderr, "parley: consuming %s from %s\n", target, url)
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/plugin/driver"
)

// request is what call and cast have in common.
type request struct {
	url     urlFlags
	target  targetFlags
	context string
	timeout time.Duration
	retry   int
}

func (r *request) add(cmd *cobra.Command) {
	r.url.add(cmd)
	r.target.add(cmd)
	cmd.Flags().StringVar(&r.context, "context", "", "request context, a JSON object")
	addDuration(cmd.Flags(), &r.timeout, "timeout", messaging.DefaultReplyTimeout, "limit for everything, from starting the driver to the end")
	cmd.Flags().IntVar(&r.retry, "retry", -1, "how often to try again while the broker is not to be had: -1 as long as there is time, 0 never")
}

// prepared is a request that was checked as far as that goes without a driver.
type prepared struct {
	url    string
	method string
	args   map[string]any
}

// check reads flags and arguments. No driver is started for a mistake.
func (r *request) check(ctx context.Context, a *app, args []string) (context.Context, prepared, error) {
	p := prepared{method: args[0]}
	err := r.target.check()
	if err != nil {
		return nil, p, err
	}
	if r.timeout <= 0 {
		return nil, p, usagef("give a time such as --timeout 5s", "the timeout is zero")
	}
	if a.urlFromStdin(&r.url) && len(args) == 2 && args[1] == "-" {
		return nil, p, usagef("read one of them from a file", "both the URL and the arguments are to come from standard input")
	}
	if p.args, err = parseArgs(args[1:], a.stdin); err != nil {
		return nil, p, err
	}
	if p.url, err = a.transportURL(&r.url); err != nil {
		return nil, p, err
	}
	ctx, err = withRequestContext(ctx, r.context)
	return ctx, p, err
}

// urlFromStdin reports whether the URL is read from standard input.
func (a *app) urlFromStdin(f *urlFlags) bool {
	return f.file == "-" || f.literal == "" && f.file == "" && a.env(urlVariable) == "" && a.config.url == "" && a.config.urlFile == "-"
}

type callFlags struct {
	request
	monitor   time.Duration
	traceback bool
}

func (a *app) callCommand() *cobra.Command {
	var f callFlags
	cmd := &cobra.Command{
		Use:   "call [flags] METHOD [ARG...]",
		Short: "Call a method and print its result",
		Long: `Call runs METHOD on a server of the topic, waits for its answer and prints it: a text as it
is, anything else as indented JSON, and with -o json exactly what came.

An ARG is key=text or key:=json. Instead of them, one JSON object may be given, or - to read
the object from standard input.

Where the driver can tell that no server of the topic exists, the call fails at once with
status 5 instead of waiting for its timeout.`,
		Example: `  parley call --topic demo echo greeting=hello count:=3
  parley call --topic compute --version 6.0 --server host1 get_host_uptime
  echo '{"seconds": 20}' | parley call --topic demo --timeout 1m --monitor 5s sleep -`,
		Args: needMethod,
	}
	f.add(cmd)
	addDuration(cmd.Flags(), &f.monitor, "monitor", 0, "fail when the server, while it works on the call, is silent for that long; Python servers take 2s or more")
	cmd.Flags().BoolVar(&f.traceback, "traceback", false, "show the remote side's traceback on standard error")
	cmd.RunE = a.begin(func(ctx context.Context, args []string) error { return a.call(ctx, &f, args) })
	return cmd
}

// needMethod refuses a command line without a method.
func needMethod(cmd *cobra.Command, args []string) error {
	if len(args) == 0 || args[0] == "" {
		return usagef("name it, such as: "+cmd.CommandPath()+" --topic demo echo greeting=hello", "the method is missing")
	}
	if strings.Contains(args[0], "=") {
		return usagef("the method comes before the arguments", "%q is an argument, not a method", shorten(args[0]))
	}
	return nil
}

func (a *app) call(ctx context.Context, f *callFlags, args []string) error {
	ctx, p, err := f.check(ctx, a, args)
	if err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	s, err := a.open(bounded, a.host(), p.url)
	if err != nil {
		return err
	}
	defer s.close()
	client := messaging.NewRPCClient(s.Transport, f.target.target, &messaging.RPCClientOptions{
		Timeout: f.timeout, Monitor: f.monitor, Retry: &f.retry, Mandatory: s.Info().Has(driver.CapMandatory),
	})
	var reply json.RawMessage
	if err := client.Call(bounded, p.method, p.args, &reply); err != nil {
		a.printTraceback(f.traceback, err)
		return s.explain(explainNoRoute(err, f))
	}
	return a.printResult(reply)
}

func (a *app) printTraceback(wanted bool, err error) {
	e, ok := errors.AsType[*messaging.RemoteError](err)
	if !wanted || !ok || a.json() {
		return
	}
	for _, line := range e.Traceback {
		say(a.stderr, "%s\n", strings.TrimRight(line, "\n"))
	}
}

// explainNoRoute says what it means on the command line that nobody can receive the call.
func explainNoRoute(err error, f *callFlags) error {
	e, ok := errors.AsType[*messaging.Error](err)
	if !ok || e.Code != messaging.CodeUndeliverable || e.Hint != "" {
		return err
	}
	c := *e
	c.Hint = fmt.Sprintf("no server of topic %q is up on this broker; look at --exchange, --topic and --server", f.target.target.Topic)
	return &c
}

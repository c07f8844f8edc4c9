// SPDX-License-Identifier: Apache-2.0

// Command worker is one process of a contender in the comparison. The bench command starts it
// and speaks with it in JSON lines; by hand it is of no use.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/parleymq/parley/internal/bench"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

func run(ctx context.Context, in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	if !lines.Scan() {
		return errors.New("no setup on standard input")
	}
	var s bench.Setup
	if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
		return err
	}
	answer := json.NewEncoder(out)
	ready := func(address string) { // the parent notices a broken pipe
		_ = answer.Encode(bench.Ready{Ready: true, Address: address})
	}
	switch s.Role {
	case "raw-server":
		return bench.RawServer(untilEOF(ctx, lines), s, ready)
	case "parley-server":
		return bench.ParleyServer(untilEOF(ctx, lines), s, ready)
	case "go-amqp-server":
		return bench.AMQP1Server(untilEOF(ctx, lines), s, ready)
	case "zmq4-server":
		return bench.ZMQServer(untilEOF(ctx, lines), ready)
	default:
		c, err := newClient(ctx, s)
		if err != nil {
			return err
		}
		ready("")
		return errors.Join(serve(ctx, lines, answer, c.Run), c.close(ctx))
	}
}

// client makes the load of lines.
type client struct {
	runner
	close func(context.Context) error
}

type runner interface {
	Run(ctx context.Context, load bench.Load) bench.Result
}

func newClient(ctx context.Context, s bench.Setup) (client, error) {
	switch s.Role {
	case "raw-client":
		c, err := bench.NewRawClient(s)
		return client{c, func(context.Context) error { return c.Close() }}, err
	case "go-amqp-client":
		c, err := bench.NewAMQP1Client(ctx, s)
		return client{c, func(context.Context) error { return c.Close() }}, err
	case "zmq4-client":
		c, err := bench.NewZMQClient(ctx, s)
		return client{c, func(context.Context) error { return c.Close() }}, err
	case "parley-client":
		c, err := bench.NewParleyClient(ctx, s)
		return client{c, inTime(c.Close)}, err
	case "raw-notifier":
		c, err := bench.NewRawNotifier(s)
		return client{c, func(context.Context) error { return c.Close() }}, err
	case "raw-listener":
		return client{bench.NewRawListener(s), func(context.Context) error { return nil }}, nil
	case "parley-notifier":
		c, err := bench.NewParleyNotifier(ctx, s)
		return client{c, inTime(c.Close)}, err
	case "parley-listener", "parley-batches":
		c, err := bench.NewParleyListener(ctx, s, s.Role == "parley-batches")
		return client{c, inTime(c.Close)}, err
	default:
		return client{}, fmt.Errorf("unknown role %q", s.Role)
	}
}

// inTime bounds the end of a client, whose context may be over.
func inTime(end func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		return end(ctx)
	}
}

// untilEOF ends with ctx or when the parent closes our standard input.
func untilEOF(ctx context.Context, lines *bufio.Scanner) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() { // ends with the process at the latest
		for lines.Scan() { // a server gets no further lines
		}
		cancel()
	}()
	return ctx
}

// serve runs the load that each line asks for.
func serve(ctx context.Context, lines *bufio.Scanner, answer *json.Encoder, load func(context.Context, bench.Load) bench.Result) error {
	for lines.Scan() {
		var l bench.Load
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return err
		}
		if err := answer.Encode(load(ctx, l)); err != nil {
			return err
		}
	}
	return lines.Err()
}

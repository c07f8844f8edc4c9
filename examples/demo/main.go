// SPDX-License-Identifier: Apache-2.0

// Command demo shows Parley's main job through real driver processes, with the fake driver in
// place of a broker: a call, a cast, a fanout, a remote error, and a driver that is killed
// between two calls. It says what it does and ends by itself.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"syscall"
	"time"

	"github.com/parleymq/parley/messaging"
)

// The service's interface, shared by client and server.
type (
	helloArgs struct {
		Name string `json:"name"`
	}
	refreshArgs struct {
		Reason string `json:"reason"`
	}
	none struct{}
)

func hello() messaging.Method[helloArgs, string] {
	return messaging.Method[helloArgs, string]{Name: "hello"}
}

func refresh() messaging.Method[refreshArgs, none] {
	return messaging.Method[refreshArgs, none]{Name: "refresh"}
}

// notFound is the error of the service; errors.Is knows it on both sides.
func notFound() *messaging.RemoteError {
	return &messaging.RemoteError{Module: "demo.exception", Class: "NotFound", Message: "nobody is called that"}
}

func main() {
	path := flag.String("driver-path", "", "directory with the driver binaries")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	d := &demo{out: os.Stdout, begin: time.Now()}
	if err := d.run(ctx, *path); err != nil {
		fmt.Fprintln(os.Stderr, "demo failed:", err)
		cancel()
		os.Exit(1) //nolint:gocritic // cancel was called
	}
}

// demo tells what happens.
type demo struct {
	out   io.Writer
	begin time.Time
}

func (d *demo) say(format string, args ...any) {
	_, _ = fmt.Fprintf(d.out, "%6.3fs  %s\n", time.Since(d.begin).Seconds(), fmt.Sprintf(format, args...))
}

func (d *demo) run(ctx context.Context, driverPath string) (err error) {
	var dirs []string
	if driverPath != "" {
		dirs = []string{driverPath}
	}
	logger := slog.New(slog.NewTextHandler(d.out, &slog.HandlerOptions{Level: slog.LevelError}))
	host := messaging.NewHost(&messaging.HostOptions{DriverPath: dirs, Logger: logger})
	options := &messaging.Options{Host: host, Logger: logger}

	// The fake driver's exchange lives in its process, and transports of one Host share it.
	t, err := messaging.Open(ctx, "fake:///demo", options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close(ctx)) }()
	d.say("the driver %q runs as process %d; this program is process %d", t.Info().Name, pid(host), os.Getpid())

	refreshed := make(chan string, 8)
	for _, name := range []string{"alpha", "beta"} {
		stop, err := d.serve(ctx, host, options, name, refreshed)
		if err != nil {
			return err
		}
		defer stop()
	}
	client := messaging.NewRPCClient(t, messaging.Target{Topic: "greeter"}, &messaging.RPCClientOptions{Timeout: 10 * time.Second})
	steps := []func(context.Context, *messaging.RPCClient) error{
		d.call, d.cast(refreshed), d.fanout(refreshed), d.remoteError, d.unknownMethod, d.kill(host), d.call,
	}
	for _, step := range steps {
		if err := step(ctx, client); err != nil {
			return err
		}
	}
	d.say("every call was answered, before and after the driver was killed")
	return nil
}

// serve runs a server on a transport of its own until stop is called.
func (d *demo) serve(ctx context.Context, host *messaging.Host, o *messaging.Options, name string, refreshed chan<- string) (stop func(), err error) {
	t, err := messaging.Open(ctx, "fake:///demo", o)
	if err != nil {
		return nil, err
	}
	ep := messaging.NewEndpoint(nil)
	hello().Handle(ep, func(_ context.Context, a helloArgs) (string, error) {
		if a.Name == "" {
			return "", messaging.Expected(notFound())
		}
		return fmt.Sprintf("hello %s, this is %s", a.Name, name), nil
	})
	refresh().Handle(ep, func(context.Context, refreshArgs) (none, error) {
		refreshed <- name
		return none{}, nil
	})
	srv := messaging.NewRPCServer(t, messaging.Target{Topic: "greeter", Server: name}, nil, ep)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx) }()
	select {
	case <-srv.Ready():
	case err := <-served:
		return nil, err
	}
	d.say("server %q listens to topic \"greeter\" through driver process %d", name, pid(host))
	return func() {
		_ = srv.Shutdown(ctx) // the program ends with an error of its own if ctx has ended
		<-served
		_ = t.Close(ctx)
	}, nil
}

func (d *demo) call(ctx context.Context, c *messaging.RPCClient) error {
	for range 2 {
		text, err := hello().Call(ctx, c, helloArgs{Name: "world"})
		if err != nil {
			return err
		}
		d.say("call    hello(name=world)        -> %q", text)
	}
	return nil
}

func (d *demo) cast(refreshed <-chan string) func(context.Context, *messaging.RPCClient) error {
	return func(ctx context.Context, c *messaging.RPCClient) error {
		if err := refresh().Cast(ctx, c, refreshArgs{Reason: "demo"}); err != nil {
			return err
		}
		name, err := next(ctx, refreshed)
		d.say("cast    refresh(reason=demo)     -> run by %s", name)
		return err
	}
}

func (d *demo) fanout(refreshed <-chan string) func(context.Context, *messaging.RPCClient) error {
	return func(ctx context.Context, c *messaging.RPCClient) error {
		if err := refresh().Cast(ctx, c.With(messaging.Fanout()), refreshArgs{Reason: "demo"}); err != nil {
			return err
		}
		first, err := next(ctx, refreshed)
		if err != nil {
			return err
		}
		second, err := next(ctx, refreshed)
		if first == second {
			return fmt.Errorf("the fanout reached %s twice", first)
		}
		d.say("fanout  refresh(reason=demo)     -> run by %s and %s", first, second)
		return err
	}
}

func (d *demo) remoteError(ctx context.Context, c *messaging.RPCClient) error {
	_, err := hello().Call(ctx, c, helloArgs{})
	if !errors.Is(err, notFound()) {
		return fmt.Errorf("expected the remote error, got %w", err)
	}
	d.say("call    hello(name=)             -> error: %v", err)
	return nil
}

func (d *demo) unknownMethod(ctx context.Context, c *messaging.RPCClient) error {
	err := c.Call(ctx, "goodbye", nil, nil)
	if !errors.Is(err, messaging.ErrNoSuchMethod) {
		return fmt.Errorf("expected no such method, got %w", err)
	}
	d.say("call    goodbye()                -> error: %v", err)
	return nil
}

// kill ends the driver process as a crash would, and waits for the next one.
func (d *demo) kill(host *messaging.Host) func(context.Context, *messaging.RPCClient) error {
	return func(ctx context.Context, _ *messaging.RPCClient) error {
		old := pid(host)
		d.say("kill -9 %d: the driver, with both servers and the client on it", old)
		if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
			return err
		}
		// A call made in this very moment could be in doubt: written to a process that is no
		// more. The demo is about a call before and a call after.
		for pid(host) == old || pid(host) == 0 {
			select {
			case <-time.After(time.Millisecond):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		d.say("the driver runs again, as process %d; servers and client are where they were", pid(host))
		return nil
	}
}

// pid is the driver's process.
func pid(host *messaging.Host) int {
	for _, r := range host.Running() {
		return r.PID
	}
	return 0
}

func next(ctx context.Context, names <-chan string) (string, error) {
	select {
	case name := <-names:
		return name, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

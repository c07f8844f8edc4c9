// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleymq/parley/messaging"
)

// payload is the typed argument and result of echo.
type payload struct {
	Payload string `json:"payload"`
	By      string `json:"by,omitempty"` // the server, where there are several
}

type none struct{}

func echoMethod() messaging.Method[payload, payload] {
	return messaging.Method[payload, payload]{Name: "echo"}
}

// noteMethod is cast, and countMethod tells how many casts were received.
func noteMethod() messaging.Method[payload, none] {
	return messaging.Method[payload, none]{Name: "note"}
}
func countMethod() messaging.Method[none, int] { return messaging.Method[none, int]{Name: "count"} }

// parleyOptions are those of all transports of a worker, which share one driver process.
func parleyOptions(s Setup) *messaging.Options {
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	host := messaging.NewHost(&messaging.HostOptions{DriverPath: s.DriverPath, Logger: logger})
	return &messaging.Options{Host: host, AppName: "bench", Logger: logger}
}

// ParleyServer serves echo on a topic until ctx ends.
func ParleyServer(ctx context.Context, s Setup, ready func(address string)) error {
	opts := parleyOptions(s)
	count := max(s.Servers, 1)
	servers := make([]*parleyServer, 0, count)
	var failed error
	for i := range count {
		name, by, topics := s.Server, "", []string{s.Topic}
		if s.Servers > 0 {
			name = fmt.Sprintf("%s-%d", s.Server, i)
			by = name
		}
		if i == 0 && s.Also != "" {
			topics = append(topics, s.Also)
		}
		one, err := startParleyServer(ctx, s.URL, opts, endpoint(by), name, topics)
		if err != nil {
			failed = fmt.Errorf("server %s: %w", name, err)
			break
		}
		servers = append(servers, one)
	}
	if failed == nil {
		ready("")
		<-ctx.Done()
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return errors.Join(failed, stopAll(stop, servers))
}

// endpoint is what is served. It signs its answers when by is set.
func endpoint(by string) *messaging.Endpoint {
	var noted atomic.Int64
	ep := messaging.NewEndpoint(nil)
	echoMethod().Handle(ep, func(_ context.Context, a payload) (payload, error) {
		a.By = by
		return a, nil
	})
	noteMethod().Handle(ep, func(context.Context, payload) (none, error) {
		noted.Add(1)
		return none{}, nil
	})
	countMethod().Handle(ep, func(context.Context, none) (int, error) { return int(noted.Load()), nil })
	return ep
}

// parleyServer listens to topics on a transport of its own.
type parleyServer struct {
	t       *messaging.Transport
	servers []*messaging.RPCServer
	served  sync.WaitGroup
}

// startParleyServer returns when the server listens.
func startParleyServer(ctx context.Context, url string, opts *messaging.Options, ep *messaging.Endpoint, name string, topics []string) (*parleyServer, error) {
	t, err := messaging.Open(ctx, url, opts)
	if err != nil {
		return nil, err
	}
	one := &parleyServer{t: t}
	for _, topic := range topics {
		srv := messaging.NewRPCServer(t, messaging.Target{Topic: topic, Server: name}, &messaging.RPCServerOptions{Concurrency: rawPrefetch}, ep)
		served := make(chan error, 1)
		one.served.Go(func() { served <- srv.Serve(context.WithoutCancel(ctx)) }) // ended by stop
		one.servers = append(one.servers, srv)
		select {
		case <-srv.Ready():
		case err := <-served:
			stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			return nil, errors.Join(err, one.stop(stop))
		}
	}
	return one, nil
}

func (p *parleyServer) stop(ctx context.Context) error {
	var errs []error
	for _, srv := range p.servers {
		errs = append(errs, srv.Shutdown(ctx))
	}
	p.served.Wait()
	return errors.Join(append(errs, p.t.Close(ctx))...)
}

// stopAll stops the servers side by side.
func stopAll(ctx context.Context, servers []*parleyServer) error {
	errs := make([]error, len(servers))
	var wg sync.WaitGroup
	for i, one := range servers {
		wg.Go(func() { errs[i] = one.stop(ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// ParleyClient makes calls by Parley.
type ParleyClient struct {
	transport *messaging.Transport
	client    *messaging.RPCClient
	args      payload
	by        *sync.Map // of *atomic.Int64: answers by server, in this run
}

// NewParleyClient opens a transport.
func NewParleyClient(ctx context.Context, s Setup) (*ParleyClient, error) {
	t, err := messaging.Open(ctx, s.URL, parleyOptions(s))
	if err != nil {
		return nil, err
	}
	var args payload
	if err := json.Unmarshal(Request(s.Size), &args); err != nil {
		return nil, err
	}
	c := messaging.NewRPCClient(t, messaging.Target{Topic: s.Topic, Version: "1.0"}, &messaging.RPCClientOptions{Timeout: rawTimeout})
	return &ParleyClient{transport: t, client: c, args: args}, nil
}

// Run makes the calls or casts of a load.
func (c *ParleyClient) Run(ctx context.Context, load Load) Result {
	if load.Cast {
		return RunCasts(ctx, load, c.cast, c.count)
	}
	client := c.client
	if load.Topic != "" {
		client = client.With(messaging.Topic(load.Topic))
	}
	c.by = &sync.Map{}
	r := Run(ctx, load, func(ctx context.Context) error { return c.call(ctx, client) })
	r.By = make(map[string]int)
	for name, n := range c.by.Range {
		r.By[name.(string)] = int(n.(*atomic.Int64).Load())
	}
	return r
}

// call makes one call and checks that its payload came back.
func (c *ParleyClient) call(ctx context.Context, client *messaging.RPCClient) error {
	got, err := echoMethod().Call(ctx, client, c.args)
	if err != nil {
		return err
	}
	if got.Payload != c.args.Payload {
		return errors.New("the payload did not come back")
	}
	if got.By != "" {
		n, ok := c.by.Load(got.By)
		if !ok {
			n, _ = c.by.LoadOrStore(got.By, new(atomic.Int64))
		}
		n.(*atomic.Int64).Add(1)
	}
	return nil
}

func (c *ParleyClient) cast(ctx context.Context) error {
	return noteMethod().Cast(ctx, c.client, c.args)
}

func (c *ParleyClient) count(ctx context.Context) (int, error) {
	return countMethod().Call(ctx, c.client, none{})
}

// Close ends the transport and its driver.
func (c *ParleyClient) Close(ctx context.Context) error { return c.transport.Close(ctx) }

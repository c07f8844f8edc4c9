// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

// Load is what a client asks of servers.
type Load struct {
	Timeout time.Duration // of all requests
	// Callers is how many call servers of no name; Casters likewise.
	Callers, Casters int
	// These are between two requests of one caller, at most. FailedPace is waited besides after what
	// failed.
	CallPace, CastPace, FanoutPace, FailedPace time.Duration
	// Servers are called by their names, each once in DirectPace whether it is there or not. MaxDirect
	// bounds the calls to one that wait for it at a time.
	Servers    []string
	DirectPace time.Duration
	MaxDirect  int
	// Sleep is how long the handler of a request takes, in milliseconds.
	Sleep func() int
	// Spoil, when not nil, breaks the promises that a client is told to break: it gets what a call
	// returned with, and returns what is noted.
	Spoil func(error) error
}

// CodeNone is that of an error that has none.
const CodeNone = "none"

var errWrongAnswer = errors.New("the answer belongs to another call")

// Client is an application that makes requests until it is told to stop.
type Client struct {
	*Application
	load    Load
	rpc     *messaging.RPCClient
	serial  atomic.Int64
	flight  atomic.Int64 // calls
	running sync.WaitGroup
}

// NewClient returns a client, which does nothing yet.
func NewClient(a *Application, load Load) *Client {
	rpc := messaging.NewRPCClient(a.Transport, messaging.Target{Topic: Topic}, &messaging.RPCClientOptions{Timeout: load.Timeout})
	return &Client{Application: a, load: load, rpc: rpc}
}

// Obey follows the orders of the test until it is told to stop. Unless it is idle the client makes
// requests of all kinds meanwhile.
func (c *Client) Obey(idle bool, commands map[string]testbed.Command) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if !idle {
		c.start(ctx)
	}
	commands["flight"] = testbed.Say(func() (int64, error) { return c.flight.Load(), nil })
	commands["stop"] = testbed.Say(func() (LastWords, error) {
		cancel()
		c.running.Wait()
		stats := fmt.Sprintf("%+v", c.Transport.Stats())
		return LastWords{Stats: stats}, c.Close()
	})
	return c.obey(commands)
}

// start makes requests of all kinds until ctx ends.
func (c *Client) start(ctx context.Context) {
	for range c.load.Callers {
		c.Go(func() { c.repeat(ctx, c.load.CallPace, func() error { return c.call(c.rpc, "") }) })
	}
	for range c.load.Casters {
		c.Go(func() { c.repeat(ctx, c.load.CastPace, func() error { return c.Cast(c.load.Sleep()) }) })
	}
	c.Go(func() { c.repeat(ctx, c.load.FanoutPace, c.fanout) })
	for _, server := range c.load.Servers {
		c.Go(func() { c.callDirectly(ctx, server) })
	}
}

// Go does something that the client waits for before it stops.
func (c *Client) Go(do func()) { c.running.Go(do) }

func (c *Client) repeat(ctx context.Context, pace time.Duration, request func() error) {
	for ctx.Err() == nil {
		if request() != nil {
			testbed.Pause(ctx, c.load.FailedPace)
		}
		testbed.Pause(ctx, rand.N(pace)) //nolint:gosec // no secret
	}
}

// callDirectly begins calls to one server at a steady pace, whether it is there or not.
func (c *Client) callDirectly(ctx context.Context, server string) {
	rpc := c.rpc.With(messaging.Server(server))
	slots := make(chan struct{}, c.load.MaxDirect)
	for ctx.Err() == nil {
		select {
		case slots <- struct{}{}:
			c.Go(func() {
				_ = c.call(rpc, server)
				<-slots
			})
		default:
		}
		testbed.Pause(ctx, c.load.DirectPace)
	}
}

// begin notes a request and returns it.
func (c *Client) begin(kind, to string) Line {
	l := Line{ID: c.name + "-" + strconv.FormatInt(c.serial.Add(1), 10), At: time.Now().UnixNano(), Kind: kind, To: to}
	c.Ledger.write(l)
	return l
}

// args are those of a request.
func (c *Client) args(l Line, sleep int) Args {
	return Args{ID: l.ID, From: c.name, At: l.At, Sleep: sleep}
}

// end notes what a request returned with.
func (c *Client) end(l Line, err error) error {
	if l.Kind == Call && c.load.Spoil != nil {
		err = c.load.Spoil(err)
	}
	l.Done = true
	l.Took = time.Now().UnixNano() - l.At
	if err != nil {
		l.Text = err.Error()
		if l.Code = string(messaging.CodeOf(err)); l.Code == "" {
			l.Code = CodeNone
		}
	}
	c.Ledger.write(l)
	if err == nil {
		c.through(l.Kind+" "+l.To, l.At)
	}
	return err
}

func (c *Client) call(rpc *messaging.RPCClient, to string) error {
	c.flight.Add(1)
	defer c.flight.Add(-1)
	l := c.begin(Call, to)
	got, err := Work().Call(context.Background(), rpc, c.args(l, c.load.Sleep()))
	if err == nil && got != l.ID {
		err = errWrongAnswer
	}
	return c.end(l, err)
}

// Cast casts once, to a handler that takes so many milliseconds.
func (c *Client) Cast(sleep int) error {
	l := c.begin(Cast, "")
	return c.end(l, note().Cast(context.Background(), c.rpc, c.args(l, sleep)))
}

func (c *Client) fanout() error {
	l := c.begin(Fanout, "")
	return c.end(l, tell().Cast(context.Background(), c.rpc.With(messaging.Fanout()), c.args(l, 0)))
}

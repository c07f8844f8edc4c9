// SPDX-License-Identifier: Apache-2.0

package qpidfaults

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

const (
	kindCall   = "call"
	kindCast   = "cast"
	kindFanout = "fanout"
	// requestTimeout is that of all requests.
	requestTimeout = 10 * time.Second
	// callers is how many each client has for servers of no name; casters likewise.
	callers    = 8
	casters    = 3
	callPace   = 100 * time.Millisecond // between two calls of one caller, at most
	castPace   = 100 * time.Millisecond
	fanoutPace = 300 * time.Millisecond
	directPace = 100 * time.Millisecond
	// failedPace is the wait after what failed at once.
	failedPace = 50 * time.Millisecond
	// maxDirect bounds the calls to one server that wait for it at a time.
	maxDirect = 40
)

// client is an application that makes requests until it is told to stop.
type client struct {
	*application
	rpc    *messaging.RPCClient
	serial atomic.Int64
	flight atomic.Int64 // calls
	load   sync.WaitGroup
}

func (a *application) load() error {
	c := &client{
		application: a,
		rpc:         messaging.NewRPCClient(a.transport, messaging.Target{Topic: topic}, &messaging.RPCClientOptions{Timeout: requestTimeout}),
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c.startLoad(ctx)
	return a.obey(map[string]testbed.Command{
		"flight": testbed.Say(func() (int64, error) { return c.flight.Load(), nil }),
		"stop": testbed.Say(func() (lastWords, error) {
			cancel()
			c.load.Wait()
			stats := fmt.Sprintf("%+v", a.transport.Stats())
			return lastWords{Stats: stats}, a.close()
		}),
	})
}

// startLoad makes requests of all kinds until ctx ends.
func (c *client) startLoad(ctx context.Context) {
	for range callers {
		c.load.Go(func() { c.repeat(ctx, callPace, func() error { return c.call(c.rpc, "") }) })
	}
	for range casters {
		c.load.Go(func() { c.repeat(ctx, castPace, c.cast) })
	}
	c.load.Go(func() { c.repeat(ctx, fanoutPace, c.fanout) })
	for _, server := range c.Servers {
		c.load.Go(func() { c.callDirectly(ctx, server) })
	}
}

func (c *client) repeat(ctx context.Context, pace time.Duration, request func() error) {
	for ctx.Err() == nil {
		if request() != nil {
			pause(ctx, failedPace)
		}
		pause(ctx, rand.N(pace))
	}
}

// callDirectly begins calls to one server at a steady pace, whether it is there or not.
func (c *client) callDirectly(ctx context.Context, server string) {
	rpc := c.rpc.With(messaging.Server(server))
	slots := make(chan struct{}, maxDirect)
	for ctx.Err() == nil {
		select {
		case slots <- struct{}{}:
			c.load.Go(func() {
				_ = c.call(rpc, server)
				<-slots
			})
		default:
		}
		pause(ctx, directPace)
	}
}

// begin notes a request and returns it.
func (c *client) begin(kind, to string) line {
	l := line{ID: c.Name + "-" + strconv.FormatInt(c.serial.Add(1), 10), At: time.Now().UnixNano(), Kind: kind, To: to}
	c.write(l)
	return l
}

// args are those of a request.
func (c *client) args(l line, sleep int) args {
	return args{ID: l.ID, From: c.Name, At: l.At, Sleep: sleep}
}

// end notes what a request returned with.
func (c *client) end(l line, err error) error {
	if l.Kind == kindCall {
		err = c.spoil(err)
	}
	l.Done = true
	l.Took = time.Now().UnixNano() - l.At
	if err != nil {
		l.Text = err.Error()
		if l.Code = string(messaging.CodeOf(err)); l.Code == "" {
			l.Code = codeNone
		}
	}
	c.write(l)
	if err == nil {
		c.through(l.Kind+" "+l.To, l.At)
	}
	return err
}

// spoil breaks the promises that it is told to break.
func (c *client) spoil(err error) error {
	switch {
	case err == nil && c.sabotaged(sabotageLate):
		pause(context.Background(), requestTimeout+2*slack)
	case errors.Is(err, messaging.ErrInDoubt) && c.sabotaged(sabotageTold):
		pause(context.Background(), toldLimit)
	case err == nil && c.sabotaged(sabotageWrong):
		return errors.New("something")
	case err == nil && c.sabotaged(sabotageUntrue):
		return &messaging.Error{Code: messaging.CodeUnavailable}
	}
	return err
}

// codeNone is that of an error that has none.
const codeNone = "none"

var errWrongAnswer = errors.New("the answer belongs to another call")

// sleep is how long a handler takes: mostly nothing, sometimes so long that a fault hits it.
func sleep() int {
	if rand.N(4) == 0 {
		return 100 + rand.N(400)
	}
	return rand.N(5)
}

func (c *client) call(rpc *messaging.RPCClient, to string) error {
	c.flight.Add(1)
	defer c.flight.Add(-1)
	l := c.begin(kindCall, to)
	got, err := work.Call(context.Background(), rpc, c.args(l, sleep()))
	if err == nil && got != l.ID {
		err = errWrongAnswer
	}
	return c.end(l, err)
}

func (c *client) cast() error {
	l := c.begin(kindCast, "")
	return c.end(l, note.Cast(context.Background(), c.rpc, c.args(l, sleep())))
}

func (c *client) fanout() error {
	l := c.begin(kindFanout, "")
	return c.end(l, tell.Cast(context.Background(), c.rpc.With(messaging.Fanout()), c.args(l, 0)))
}

// SPDX-License-Identifier: Apache-2.0

package zmqfaults

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
	requestTimeout = 2 * time.Second
	callers        = 3
	casters        = 3
	callPace       = 30 * time.Millisecond // between two calls of one caller, at most
	castPace       = 20 * time.Millisecond
	fanoutPace     = 200 * time.Millisecond
	directPace     = 80 * time.Millisecond
	// maxDirect bounds the calls to one server that wait for it at a time.
	maxDirect = 30
)

// client is an application that makes requests until it is told to stop.
type client struct {
	*application
	rpc    *messaging.RPCClient
	last   atomic.Int64
	broken atomic.Bool
	load   sync.WaitGroup

	mu       sync.Mutex
	answered map[string]int64 // when the last answered call to a server, or "", began; guarded by mu
}

func (a *application) load() error {
	c := &client{
		application: a, answered: make(map[string]int64),
		rpc: messaging.NewRPCClient(a.transport, messaging.Target{Topic: topic}, &messaging.RPCClientOptions{Timeout: requestTimeout}),
	}
	ctx, cancel := context.WithCancel(context.Background())
	if !a.Idle {
		c.startLoad(ctx)
	}
	return a.obey(map[string]testbed.Command{
		"burst": testbed.Take(func(n int) (any, error) {
			var first sync.WaitGroup
			for range n / 2 {
				first.Go(func() { c.cast(burstSleep) })
			}
			first.Wait()
			for range n - n/2 {
				c.load.Go(func() { c.cast(burstSleep) })
			}
			return nil, nil
		}),
		"answered": testbed.Take(func(server string) (int64, error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.answered[server], nil
		}),
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
		c.load.Go(func() { c.repeat(ctx, callPace, func() { c.call(c.rpc, "") }) })
	}
	for range casters {
		c.load.Go(func() { c.repeat(ctx, castPace, func() { c.cast(sleep()) }) })
	}
	c.load.Go(func() { c.repeat(ctx, fanoutPace, c.fanout) })
	for _, server := range c.Servers {
		c.load.Go(func() { c.callDirectly(ctx, server) })
	}
}

// burstSleep is how long the handler of a cast of a burst takes, in milliseconds.
const burstSleep = 10

func (c *client) repeat(ctx context.Context, pace time.Duration, request func()) {
	for ctx.Err() == nil {
		request()
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
				c.call(rpc, server)
				<-slots
			})
		default:
		}
		pause(ctx, directPace)
	}
}

// begin notes a request and returns it.
func (c *client) begin(kind, to string) line {
	l := line{ID: c.Name + "-" + strconv.FormatInt(c.last.Add(1), 10), At: time.Now().UnixNano(), Kind: kind, To: to}
	c.write(l)
	return l
}

// end notes what a request returned with.
func (c *client) end(l line, err error) {
	if c.Sabotage == sabotageLate && l.Kind == kindCall && c.broken.CompareAndSwap(false, true) {
		pause(context.Background(), requestTimeout+2*slack)
	}
	if c.Sabotage == sabotageWrong && l.Kind == kindCall && c.broken.CompareAndSwap(false, true) {
		err = errors.New("something")
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
}

// codeNone is that of an error that has none.
const codeNone = "none"

var errWrongAnswer = errors.New("the answer belongs to another call")

// sleep is how long a handler takes: mostly nothing, sometimes so long that a fault hits it.
func sleep() int {
	if rand.N(10) == 0 {
		return 100 + rand.N(300)
	}
	return rand.N(5)
}

func (c *client) call(rpc *messaging.RPCClient, to string) {
	l := c.begin(kindCall, to)
	got, err := work.Call(context.Background(), rpc, args{l.ID, sleep()})
	if err == nil && got != l.ID {
		err = errWrongAnswer
	}
	c.end(l, err)
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answered[to] = max(c.answered[to], l.At)
}

func (c *client) cast(sleep int) {
	l := c.begin(kindCast, "")
	c.end(l, note.Cast(context.Background(), c.rpc, args{l.ID, sleep}))
}

func (c *client) fanout() {
	l := c.begin(kindFanout, "")
	c.end(l, tell.Cast(context.Background(), c.rpc.With(messaging.Fanout()), args{l.ID, 0}))
}

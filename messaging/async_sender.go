// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"sync"

	"github.com/parleymq/parley/plugin/driver"
)

// asyncSender is the transport's conn as one that sends in the order of calls without a goroutine
// for each, or what stands for that ability.
func asyncSender(t *Transport) driver.AsyncSender {
	if t.async != nil {
		return t.async
	}
	return &oneByOne{conn: t.conn}
}

// oneByOne is an AsyncSender over a Conn that is none: one goroutine, which is there while there is
// something to send, sends one message after the other. Who gave it something waits for that.
type oneByOne struct {
	conn driver.Conn

	mu      sync.Mutex // guards the rest
	queue   []func()
	running bool
}

// SendAsync implements driver.AsyncSender.
func (o *oneByOne) SendAsync(ctx context.Context, batch []*driver.Message, done func(int, error)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.queue = append(o.queue, func() {
		err := o.conn.Send(ctx, batch)
		for i := range batch {
			done(i, driver.MessageErr(err, i))
		}
	})
	if !o.running {
		o.running = true
		go o.run()
	}
}

func (o *oneByOne) run() {
	for {
		o.mu.Lock()
		if len(o.queue) == 0 {
			o.running = false
			o.mu.Unlock()
			return
		}
		next := o.queue[0]
		o.queue = o.queue[1:]
		o.mu.Unlock()
		next()
	}
}

// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"context"
	"sync"

	"github.com/parleymq/parley/plugin/driver"
)

// asyncSender returns conn's own ability to send asynchronously, or one made of Send.
func asyncSender(conn driver.Conn) driver.AsyncSender {
	if a, ok := conn.(driver.AsyncSender); ok {
		return a
	}
	return &sendPool{conn: conn, slots: make(chan struct{}, sendPoolSize)}
}

// sendPoolSize is how many batches of one stream a driver without SendAsync works on at once.
const sendPoolSize = 64

// sendPool makes SendAsync of Send with a bounded number of goroutines. Each ends with its
// Send, which ends with ctx.
type sendPool struct {
	conn  driver.Conn
	slots chan struct{}
	busy  sync.WaitGroup
}

// settle waits until nothing is being sent. SendAsync is called by the same goroutine.
func (p *sendPool) settle() { p.busy.Wait() }

// SendAsync implements driver.AsyncSender. Order between batches is Send's: none.
func (p *sendPool) SendAsync(ctx context.Context, batch []*driver.Message, done func(int, error)) {
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		for i := range batch {
			done(i, cancelled(ctx))
		}
		return
	}
	p.busy.Add(1)
	go func() {
		defer p.busy.Done()
		defer func() { <-p.slots }()
		err := p.send(ctx, batch)
		for i := range batch {
			done(i, driver.MessageErr(err, i))
		}
	}()
}

// send calls Send; a panic there is on a goroutine that nobody else could recover.
func (p *sendPool) send(ctx context.Context, batch []*driver.Message) (err error) {
	defer func() {
		if r := recover(); r != nil {
			e := driver.Errorf(driver.ReasonDriverBug, "the driver panicked in Send: %v", r)
			e.InDoubt = true
			err = e
		}
	}()
	return p.conn.Send(ctx, batch)
}

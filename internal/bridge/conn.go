// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"context"
	"sync"

	"github.com/parleymq/parley/plugin/driver"
	pb "github.com/parleymq/parley/plugin/proto"
)

// Conn is a driver's connection seen from the host. It lives as long as the process does.
type Conn struct {
	peer   *Peer
	id     uint64
	cancel context.CancelFunc // ends all streams
	sender *sender
	broker *brokerState
}

var (
	_ driver.Conn           = (*Conn)(nil)
	_ driver.AsyncSender    = (*Conn)(nil)
	_ driver.Pinger         = (*Conn)(nil)
	_ driver.QueueInspector = (*Conn)(nil)
	_ driver.Diagnoser      = (*Conn)(nil)
)

func (c *Conn) start() error {
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := c.peer.client.Send(ctx)
	if err != nil {
		cancel()
		return FromGRPC(err)
	}
	c.cancel = cancel
	c.sender = newSender(stream, c.peer.epoch, c.id, c.peer.limits, c.broker)
	c.sender.start()
	return nil
}

// Send implements driver.Conn.
func (c *Conn) Send(ctx context.Context, batch []*driver.Message) error {
	return SendAndWait(ctx, c, batch)
}

// SendAsync implements driver.AsyncSender.
func (c *Conn) SendAsync(ctx context.Context, batch []*driver.Message, done func(int, error)) {
	c.sender.send(ctx, batch, done)
}

// Ping implements driver.Pinger.
func (c *Conn) Ping(ctx context.Context) error {
	_, err := c.peer.client.Ping(ctx, &pb.PingRequest{Conn: c.id, Epoch: c.peer.epoch})
	return FromGRPC(err)
}

// Listen implements driver.Conn.
func (c *Conn) Listen(ctx context.Context, src driver.Source) (driver.Listener, error) {
	return openListener(ctx, c, src)
}

// Close implements driver.Conn: it asks the driver to close and then ends the streams. A
// connection that the driver closed already, because its Send stream broke, is no error.
func (c *Conn) Close(ctx context.Context) error {
	c.sender.close()
	_, err := c.peer.client.CloseConn(ctx, &pb.CloseConnRequest{Conn: c.id, Epoch: c.peer.epoch})
	c.Abandon()
	if err = FromGRPC(err); driver.ReasonOf(err) == driver.ReasonClosed {
		return nil
	}
	return err
}

// Abandon ends the streams without a word to the driver, which is dead or dying; one that is not
// closes the connection. It returns once the goroutines of the streams have ended and every
// message has its result.
func (c *Conn) Abandon() {
	c.peer.setReport(c.id, nil)
	c.cancel()
	c.sender.wait()
}

// Broken is closed when the connection's send stream has ended, with or without its process.
func (c *Conn) Broken() <-chan struct{} { return c.sender.broken }

// SendAndWait is Send on top of SendAsync.
func SendAndWait(ctx context.Context, s driver.AsyncSender, batch []*driver.Message) error {
	if len(batch) == 0 {
		return nil
	}
	w := &batchWait{left: len(batch), done: make(chan struct{})}
	s.SendAsync(ctx, batch, func(i int, err error) { w.result(i, len(batch), err) })
	<-w.done // every message gets its result, by ctx's end at the latest
	return w.err()
}

// batchWait collects the results of a batch.
type batchWait struct {
	mu   sync.Mutex
	left int     // guarded by mu
	errs []error // guarded by mu until done is closed
	done chan struct{}
}

func (w *batchWait) result(i, n int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		if w.errs == nil {
			w.errs = make([]error, n)
		}
		w.errs[i] = err
	}
	if w.left--; w.left == 0 {
		close(w.done)
	}
}

func (w *batchWait) err() error {
	switch {
	case w.errs == nil:
		return nil
	case len(w.errs) == 1:
		return w.errs[0]
	default:
		return &driver.BatchError{Errs: w.errs}
	}
}

// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/parleymq/parley/plugin/driver"
)

// moveRequest asks a Conn to get ready in another process.
type moveRequest struct {
	ctx   context.Context // of the whole swap; the request is not kept longer
	to    *process
	ready chan moveReady // of capacity one
}

type moveReady struct {
	move *move // nil: there is nothing to move
	err  error
}

// move is a Conn that is ready in another process and waits for the word.
type move struct {
	decided chan bool     // of capacity one
	settled chan struct{} // closed when the word is followed
}

// decide gives the word, go or stay, and waits until it is followed.
func (m *move) decide(leave bool) {
	m.decided <- leave
	<-m.settled
}

// askToMove has the Conn get ready in q. A Conn that is closed, or whose process p is gone, has
// nothing to move.
func (c *Conn) askToMove(ctx context.Context, p, q *process) (*move, error) {
	r := &moveRequest{ctx: ctx, to: q, ready: make(chan moveReady, 1)}
	select {
	case c.moves <- r:
		answer := <-r.ready // by the end of ctx
		return answer.move, answer.err
	case <-p.gone:
	case <-c.ctx.Done():
	case <-ctx.Done():
		return nil, driver.Errorf(driver.ReasonDriverGone, "a connection was not ready to move in time")
	}
	return nil, nil
}

func (c *Conn) isIn(p *process) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.closed && c.life != nil && c.life.proc == p
}

// newcomer is a life that is ready and not yet in use.
type newcomer struct {
	life      *connLife
	listeners map[*Listener]driver.Listener
}

// move gets ready in another process, waits for the word, and goes there, or stays. It returns
// the life that is in use then. It is called by maintain alone.
func (c *Conn) move(life *connLife, r *moveRequest) *connLife {
	if c.isClosed() {
		r.ready <- moveReady{}
		return life
	}
	ctx, cancel := context.WithCancel(r.ctx)
	defer context.AfterFunc(c.ctx, cancel)()
	defer cancel()
	next, err := c.prepare(ctx, life, r.to)
	if err != nil {
		if c.isClosed() {
			err = nil // then there is nothing to move
		}
		r.ready <- moveReady{err: err}
		return life
	}
	m := &move{decided: make(chan bool, 1), settled: make(chan struct{})}
	defer close(m.settled)
	r.ready <- moveReady{move: m}
	select {
	case leave := <-m.decided:
		if leave {
			c.settleIn(life, next)
			return next.life
		}
	case <-c.ctx.Done(): // Close does not wait for the other connections
	}
	next.discard()
	return life
}

// prepare opens the connection and listens in another process.
func (c *Conn) prepare(ctx context.Context, from *connLife, to *process) (*newcomer, error) {
	life, err := c.openIn(ctx, to)
	if err != nil {
		return nil, to.explain(err)
	}
	n := &newcomer{life: life, listeners: make(map[*Listener]driver.Listener)}
	if st := from.lastState(); st != nil && st.Phase == driver.Ready {
		err = life.awaitReady(ctx)
		if err == nil {
			err = n.listen(ctx, c.allListeners())
		}
	}
	if err != nil {
		n.discard()
		return nil, to.explain(err)
	}
	return n, nil
}

func (c *Conn) allListeners() []*Listener {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Keys(c.listeners))
}

// listen listens to all sources, all at once.
func (n *newcomer) listen(ctx context.Context, all []*Listener) error {
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex // guards n.listeners and first
		first error
	)
	for _, l := range all {
		wg.Go(func() {
			inner, err := n.life.conn.Listen(ctx, l.src)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				n.listeners[l] = inner
			case first == nil:
				first = err
			}
		})
	}
	wg.Wait()
	return first
}

// discard gives up a life that was never in use.
func (n *newcomer) discard() {
	ctx, cancel := context.WithTimeout(context.Background(), discardTimeout)
	defer cancel()
	for _, inner := range n.listeners {
		_ = inner.Close(ctx) // the process is given up as well
	}
	_ = n.life.conn.Close(ctx)
	n.life.leave()
}

// settleIn makes the newcomer the life in use. What the one before has is finished there.
func (c *Conn) settleIn(before *connLife, next *newcomer) {
	c.begin(next.life)
	close(before.replaced)
	c.current.Store(next.life)
	c.mu.Lock()
	c.changedLocked()
	c.mu.Unlock()
	for _, l := range c.allListeners() {
		inner, ok := next.listeners[l]
		if !ok { // it is new, or the broker was away
			c.loops.Go(func() { l.relisten(next.life, func() {}) })
			continue
		}
		delete(next.listeners, l)
		if !l.attach(next.life, inner) {
			abandon(inner)
		}
	}
	for _, inner := range next.listeners { // closed meanwhile
		abandon(inner)
	}
	c.loops.Go(func() { c.finish(before) })
}

// finish lets a life that is not in use any more finish what it has.
func (c *Conn) finish(life *connLife) {
	defer c.loseRest(life) // when nothing of it is under way any more
	defer life.leave()
	ctx, cancel := context.WithTimeout(c.ctx, c.super.host.opts.DrainTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for _, l := range c.allListeners() {
		wg.Go(func() { l.finish(ctx, life) })
	}
	err := life.conn.Flush(ctx)
	wg.Wait()
	if err == nil {
		err = life.conn.Close(ctx)
	}
	if err != nil && driver.ReasonOf(err) != driver.ReasonDriverGone {
		c.logger.Warn("a connection did not finish in the process before", "pid", life.proc.pid, "err", err.Error())
	}
}

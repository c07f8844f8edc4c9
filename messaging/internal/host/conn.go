// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parleymq/parley/internal/bridge"
	"github.com/parleymq/parley/plugin/driver"
)

// replayWait is how long sends wait, after a restart, for the listeners to be back: a message
// sent before its own application listens again could find nobody.
const replayWait = 2 * time.Second

// goneWait is how long after a broken stream the process's end is expected.
const goneWait = 500 * time.Millisecond

// discardTimeout bounds giving up a connection that was never in use.
const discardTimeout = 2 * time.Second

// openTimeout bounds the Open of a connection in a process that was started again.
const openTimeout = 10 * time.Second

// Conn is a connection that outlives driver processes. It implements driver.Conn. What was
// queued when a process ended goes to the next one; what was written without a result is in
// doubt: a notification is sent again, since its receivers know it by its id, and the senders of
// other kinds decide themselves.
type Conn struct {
	super  *supervisor
	cfg    driver.Config // Options are those given, before the driver's defaults
	logger *slog.Logger
	moves  chan *moveRequest

	ctx    context.Context // ends with Close: the life of the Conn's own goroutines
	cancel context.CancelFunc
	loops  sync.WaitGroup

	current atomic.Pointer[connLife]     // nil while there is none to send on
	state   atomic.Pointer[driver.State] // the last one reported; nil before the first
	info    atomic.Pointer[driver.Info]  // of the last process

	reporting sync.Mutex // serialises cfg.Report; taken before mu
	heard     *connLife  // whose states are the Conn's; guarded by reporting

	mu        sync.Mutex
	life      *connLife              // guarded by mu
	numbers   uint64                 // of connLife; guarded by mu
	lives     uint64                 // how many were put to use; guarded by mu
	listeners map[*Listener]struct{} // guarded by mu
	closed    bool                   // guarded by mu
	changed   chan struct{}          // closed and replaced at each change; guarded by mu
}

var (
	_ driver.Conn           = (*Conn)(nil)
	_ driver.AsyncSender    = (*Conn)(nil)
	_ driver.Pinger         = (*Conn)(nil)
	_ driver.QueueInspector = (*Conn)(nil)
	_ driver.Diagnoser      = (*Conn)(nil)
)

// openConn opens a connection in the supervisor's process and keeps it open.
func openConn(ctx context.Context, s *supervisor, cfg driver.Config) (*Conn, error) {
	p, err := s.process(ctx)
	if err != nil {
		return nil, err
	}
	c := &Conn{
		super: s, cfg: cfg, logger: s.logger, moves: make(chan *moveRequest),
		listeners: make(map[*Listener]struct{}), changed: make(chan struct{}),
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	life, err := c.openIn(ctx, p)
	if err != nil {
		c.cancel()
		return nil, p.explain(err)
	}
	c.begin(life)
	c.current.Store(life)
	s.add(c)
	c.loops.Go(func() { c.maintain(life) })
	return c, nil
}

// Info is what the driver said of itself.
func (c *Conn) Info() driver.Info { return *c.info.Load() }

// Restarts is how many times the connection was opened again in another process.
func (c *Conn) Restarts() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return max(c.lives, 1) - 1
}

// begin puts a life to use.
func (c *Conn) begin(life *connLife) {
	info := life.proc.peer.Info()
	c.info.Store(&info)
	c.mu.Lock()
	c.lives++
	c.life = life
	c.changedLocked()
	c.mu.Unlock()
	c.listenTo(life)
}

func (c *Conn) changedLocked() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// maintain is the Conn's goroutine: it waits for the end of a life and makes the next, or moves
// to another process when the supervisor says so.
func (c *Conn) maintain(life *connLife) {
	for {
		select {
		case <-life.proc.gone:
		case <-life.conn.Broken():
			c.awaitGone(life)
		case r := <-c.moves:
			life = c.move(life, r)
			continue
		case <-c.ctx.Done():
			return
		}
		if c.isClosed() {
			return // Close ends the life itself
		}
		c.end(life)
		var err error
		if life, err = c.reopen(); err != nil {
			return // closed meanwhile
		}
		c.replay(life)
		c.current.Store(life)
		c.mu.Lock()
		c.changedLocked()
		c.mu.Unlock()
	}
}

// awaitGone gives the end of a process a moment to be noticed: usually that is why a stream
// broke. Otherwise the connection is opened again in the process that is still there.
func (c *Conn) awaitGone(life *connLife) {
	timer := time.NewTimer(goneWait)
	defer timer.Stop()
	select {
	case <-life.proc.gone:
	case <-timer.C:
	case <-c.ctx.Done():
	}
}

// end takes a life out of use; its messages get their results.
func (c *Conn) end(life *connLife) {
	defer c.loseRest(life) // when each message has its result
	defer life.leave()
	c.current.Store(nil)
	c.mu.Lock()
	c.life = nil
	c.changedLocked()
	c.mu.Unlock()
	c.listenTo(nil)
	cause := life.proc.cause()
	if cause == nil {
		cause = driver.Errorf(driver.ReasonDriverGone, "the connection to the driver broke and is opened again")
	}
	c.report(driver.State{Phase: driver.Connecting, Err: cause})
}

// reopen opens the connection in the next process, as often as it takes.
func (c *Conn) reopen() (*connLife, error) {
	for {
		p, err := c.nextProcess()
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(c.ctx, openTimeout)
		life, err := c.openIn(ctx, p)
		cancel()
		if err == nil {
			c.begin(life)
			return life, nil
		}
		if c.ctx.Err() != nil {
			return nil, c.ctx.Err()
		}
		c.logger.Error("opening a connection again failed", "err", err.Error())
		c.report(driver.State{Phase: driver.Connecting, Err: err})
		if !c.pauseReopen(p) {
			return nil, c.ctx.Err()
		}
	}
}

// nextProcess waits for a process, and reports why there is none while the driver is broken.
func (c *Conn) nextProcess() (*process, error) {
	for {
		p, changed, err := c.super.now()
		if p != nil || driver.ReasonOf(err) == driver.ReasonClosed {
			return p, err
		}
		if err != nil {
			c.report(driver.State{Phase: driver.Connecting, Err: err})
		}
		select {
		case <-changed:
		case <-c.ctx.Done():
			return nil, c.ctx.Err()
		}
	}
}

// pauseReopen waits before a connection is opened again, no longer than the process lives. It
// reports false when the Conn was closed.
func (c *Conn) pauseReopen(p *process) bool {
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case <-p.gone:
	case <-timer.C:
	case <-c.ctx.Done():
		return false
	}
	return true
}

// replay listens again to every source, and waits a moment for it.
func (c *Conn) replay(life *connLife) {
	c.mu.Lock()
	all := slices.Collect(maps.Keys(c.listeners))
	c.mu.Unlock()
	done := make(chan struct{})
	var wg sync.WaitGroup
	for _, l := range all {
		wg.Add(1)
		c.loops.Go(func() { l.relisten(life, wg.Done) })
	}
	c.loops.Go(func() { wg.Wait(); close(done) }) // each relisten ends with its life or the Conn
	timer := time.NewTimer(replayWait)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	case <-life.proc.gone:
	case <-c.ctx.Done():
	}
}

// await returns the life to send in, as soon as there is one other than not. It fails at once
// while the driver is broken.
func (c *Conn) await(ctx context.Context, not *connLife) (*connLife, error) {
	for {
		c.mu.Lock()
		changed, closed := c.changed, c.closed
		c.mu.Unlock()
		if closed {
			return nil, errConnClosed()
		}
		if life := c.current.Load(); life != nil && life != not {
			return life, nil
		}
		_, driverChanged, broken := c.super.now()
		if broken != nil {
			return nil, broken
		}
		select {
		case <-changed:
		case <-driverChanged:
		case <-ctx.Done():
			return nil, c.super.notRunning(ctx, c.super.cause())
		}
	}
}

func (c *Conn) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

func errConnClosed() error {
	return driver.Errorf(driver.ReasonClosed, "the transport is closed")
}

// Send implements driver.Conn.
func (c *Conn) Send(ctx context.Context, batch []*driver.Message) error {
	return bridge.SendAndWait(ctx, c, batch)
}

// SendAsync implements driver.AsyncSender. A message that did not leave before its process
// ended is sent by the next one, or fails if it is FailFast: a missing process is to its sender
// what a missing broker is (SEND-10).
func (c *Conn) SendAsync(ctx context.Context, batch []*driver.Message, done func(int, error)) {
	life := c.current.Load()
	if life == nil {
		for i, m := range batch {
			if m.FailFast {
				done(i, c.absent())
				continue
			}
			c.sendLater(ctx, nil, m, func(err error) { done(i, err) })
		}
		return
	}
	began := time.Now()
	c.sendIn(ctx, life, batch, func(i int, err error) {
		if err == nil || !sendAgain(batch[i], err) || ctx.Err() != nil {
			done(i, c.explain(ctx, err))
			return
		}
		m := *batch[i]
		if !age(&m, time.Since(began)) {
			done(i, expired(&m))
			return
		}
		c.sendLater(ctx, life, &m, func(err error) { done(i, err) })
	})
}

// sendIn sends in one life, unless another one has taken over what is new.
func (c *Conn) sendIn(ctx context.Context, life *connLife, batch []*driver.Message, done func(int, error)) {
	told, ok := life.calls.watch(sent{conn: c, life: life, batch: batch, done: done})
	if ok {
		life.conn.SendAsync(ctx, batch, told)
		return
	}
	if next := c.current.Load(); next != nil && next != life {
		c.sendIn(ctx, next, batch, done)
		return
	}
	for i := range batch {
		done(i, c.absent())
	}
}

// absent says that there is no process to send by.
func (c *Conn) absent() error {
	if c.isClosed() {
		return errConnClosed()
	}
	e := driver.Errorf(driver.ReasonDriverGone, "driver %s is not running; it is being started", c.super.key.driver)
	if cause := c.super.cause(); cause != nil {
		e.Message += ": " + cause.Error()
		e.Err = cause
	}
	return e
}

// sendAgain reports whether a message goes to the next process: it stayed on this side of one
// that ended, or is one that may arrive twice.
func sendAgain(m *driver.Message, err error) bool {
	e := driver.AsError(err)
	if e.Reason != driver.ReasonDriverGone || m.FailFast {
		return false
	}
	return !e.InDoubt || m.Kind == driver.Notification
}

// age takes time off what a message has left and reports whether there is any.
func age(m *driver.Message, by time.Duration) bool {
	if m.TimeLeft <= 0 {
		return true
	}
	m.Waited(by)
	return m.TimeLeft > 0
}

func expired(m *driver.Message) error {
	return driver.Errorf(driver.ReasonExpired, "the %s message waited for the driver longer than its time", m.Kind)
}

// sendLater waits, on a goroutine of its own, for a connection other than the one that failed.
// There is one for each caller that waits, which has a goroutine anyway.
func (c *Conn) sendLater(ctx context.Context, failed *connLife, m *driver.Message, done func(error)) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		done(errConnClosed())
		return
	}
	c.loops.Add(1)
	c.mu.Unlock()
	go func() {
		defer c.loops.Done()
		began := time.Now()
		life, err := c.await(ctx, failed)
		if err != nil {
			done(err)
			return
		}
		later := *m
		if !age(&later, time.Since(began)) {
			done(expired(m))
			return
		}
		err = bridge.SendAndWait(ctx, sendingIn{c, life}, []*driver.Message{&later})
		if err != nil && sendAgain(&later, err) && ctx.Err() == nil {
			c.sendLater(ctx, life, &later, done)
			return
		}
		done(err)
	}()
}

// sendingIn is a life as something to send with.
type sendingIn struct {
	c    *Conn
	life *connLife
}

func (s sendingIn) SendAsync(ctx context.Context, batch []*driver.Message, done func(int, error)) {
	s.c.sendIn(ctx, s.life, batch, done)
}

// trouble is what kept the driver from its broker until ctx ran out, as it said itself, or nil.
func (c *Conn) trouble(ctx context.Context) *driver.Error {
	st := c.state.Load()
	if ctx.Err() != context.DeadlineExceeded || st == nil || st.Phase == driver.Ready || st.Err == nil {
		return nil
	}
	return driver.AsError(st.Err)
}

// explain adds to the error of a message whose time ran out why it was not sent. The state may
// be older than the message's fate, so that what is in doubt stays so.
func (c *Conn) explain(ctx context.Context, err error) error {
	t := c.trouble(ctx)
	if t == nil || err == nil {
		return err
	}
	// To the driver a sender that gave up for lack of time looks like one that cancelled.
	if r := driver.ReasonOf(err); r != driver.ReasonExpired && r != driver.ReasonCancelled {
		return err
	}
	e := *driver.AsError(err)
	e.Message, e.Hint = "the message was not sent in time: "+t.Message, t.Hint
	if !e.InDoubt {
		e.Reason, e.Retryable = t.Reason, t.Retryable
	}
	return &e
}

// Ping implements driver.Pinger.
func (c *Conn) Ping(ctx context.Context) error {
	life, err := c.await(ctx, nil)
	if err != nil {
		return err
	}
	return life.conn.Ping(ctx)
}

// Listen implements driver.Conn.
func (c *Conn) Listen(ctx context.Context, src driver.Source) (driver.Listener, error) {
	l := newListener(c, src)
	for {
		life, err := c.await(ctx, nil)
		if err != nil {
			return nil, err
		}
		if !c.inUse(life) {
			continue
		}
		inner, err := life.conn.Listen(ctx, src)
		if err != nil {
			// Without an end of ctx a cancellation is that of a life that ended.
			gone := driver.ReasonOf(err) == driver.ReasonDriverGone || errors.Is(err, context.Canceled)
			if !c.inUse(life) && !c.isClosed() {
				gone = true // it failed because it is being closed in favour of the next one
			}
			if gone && ctx.Err() == nil {
				continue
			}
			if t := c.trouble(ctx); t != nil {
				return nil, t
			}
			return nil, err
		}
		if !l.attach(life, inner) {
			abandon(inner)
			continue
		}
		if c.add(l, life) {
			return l, nil
		}
		l.dropLife(life) // the process ended in between, or the Conn was closed
	}
}

// inUse reports whether a life is the present one.
func (c *Conn) inUse(life *connLife) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.life == life
}

// add registers a listener for replay, unless its life is over already.
func (c *Conn) add(l *Listener, life *connLife) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.life != life {
		return false
	}
	c.listeners[l] = struct{}{}
	return true
}

// listenAgain has a listener that the driver closed listen again, unless its life is over: then
// the next one does it.
func (c *Conn) listenAgain(l *Listener, life *connLife) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.life != life {
		return
	}
	c.loops.Go(func() { l.relisten(life, func() {}) })
}

func (c *Conn) remove(l *Listener) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.listeners, l)
}

// Close implements driver.Conn. The last connection of a process ends the process.
func (c *Conn) Close(ctx context.Context) error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	life := c.life
	c.changedLocked()
	c.mu.Unlock()
	c.super.remove(c)
	var err error
	if life != nil {
		err = life.conn.Close(ctx)
		if ctx.Err() == nil && (driver.ReasonOf(err) == driver.ReasonDriverGone || errors.Is(err, context.Canceled)) {
			err = nil // the process is gone, or its connection: it is as closed as can be
		}
	}
	c.cancel()
	c.loops.Wait()
	c.endLast()
	c.super.host.release(c.super)
	return err
}

// endLast abandons a life that maintain began after Close had looked.
func (c *Conn) endLast() {
	c.mu.Lock()
	life := c.life
	c.life = nil
	c.mu.Unlock()
	c.current.Store(nil)
	if life != nil {
		life.leave()
	}
}

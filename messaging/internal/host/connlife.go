// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"sync"

	"github.com/parleymq/parley/internal/bridge"
	"github.com/parleymq/parley/plugin/driver"
)

// connLife is a Conn in one process.
type connLife struct {
	number uint64
	proc   *process
	conn   *bridge.Conn
	left   sync.Once
	// calls are those whose replies end with this life; nil when no replies do.
	calls *callBook
	// replaced is closed when another life is in use.
	replaced chan struct{}

	mu      sync.Mutex
	state   *driver.State // the last one reported; nil before the first; guarded by mu
	changed chan struct{} // closed and replaced with each state; guarded by mu
}

// openIn opens the connection in a process. Its states are kept back until the life is the one
// in use.
func (c *Conn) openIn(ctx context.Context, p *process) (*connLife, error) {
	cfg := c.cfg
	var err error
	if cfg.Options, err = driver.ValidateOptions(p.peer.Info().Options, c.cfg.Options); err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.numbers++
	life := &connLife{number: c.numbers, proc: p, changed: make(chan struct{}), replaced: make(chan struct{})}
	c.mu.Unlock()
	cfg.Report = func(st driver.State) { c.reportOf(life, st) }
	life.calls = newCallBook(p.peer.Info())
	p.occupants.enter()
	p.hideSecrets(cfg)
	if life.conn, err = p.peer.Open(ctx, cfg); err != nil {
		p.occupants.leave()
		return nil, err
	}
	return life, nil
}

// leave ends a life at once: what it has under way gets its result.
func (l *connLife) leave() {
	l.conn.Abandon()
	l.left.Do(l.proc.occupants.leave)
}

// reportOf takes what the driver says of a life.
func (c *Conn) reportOf(life *connLife, st driver.State) {
	c.reporting.Lock()
	defer c.reporting.Unlock()
	life.mu.Lock()
	life.state = &st
	close(life.changed)
	life.changed = make(chan struct{})
	life.mu.Unlock()
	if c.heard == life {
		c.tellState(st)
	}
}

// listenTo makes what a life reports the Conn's state; nil is nobody.
func (c *Conn) listenTo(life *connLife) {
	c.reporting.Lock()
	defer c.reporting.Unlock()
	c.heard = life
	if life == nil {
		return
	}
	if st := life.lastState(); st != nil {
		c.tellState(*st)
	}
}

// report is a state that the Conn itself has something to say on.
func (c *Conn) report(st driver.State) {
	c.reporting.Lock()
	defer c.reporting.Unlock()
	c.tellState(st)
}

// tellState passes a state on. c.reporting is held.
func (c *Conn) tellState(st driver.State) {
	if last := c.state.Load(); last != nil && last.Phase == driver.Ready && st.Phase == driver.Ready && last.Host == st.Host {
		return // a move from one process to another is no change to the application
	}
	c.state.Store(&st)
	if c.cfg.Report != nil {
		c.cfg.Report(st)
	}
}

func (l *connLife) lastState() *driver.State {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

// awaitReady waits until the broker is reached, and fails with what the driver says is in the
// way.
func (l *connLife) awaitReady(ctx context.Context) error {
	for {
		l.mu.Lock()
		st, changed := l.state, l.changed
		l.mu.Unlock()
		if st != nil && st.Phase == driver.Ready {
			return nil
		}
		select {
		case <-changed:
		case <-l.proc.gone:
			return l.proc.cause()
		case <-ctx.Done():
			e := driver.Errorf(driver.ReasonNotConnected, "the new process did not reach the broker in time")
			if st != nil && st.Err != nil {
				e.Message += ": " + st.Err.Error()
				e.Err = st.Err
			}
			return e
		}
	}
}

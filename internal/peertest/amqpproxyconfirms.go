// SPDX-License-Identifier: Apache-2.0

package peertest

import (
	"encoding/binary"
	"io"
	"slices"
	"time"
)

// HoldConfirms keeps the broker's confirms of published messages back and lets everything
// else through: the messages arrive, and their sender does not learn it.
func (p *AMQPProxy) HoldConfirms() {
	p.update(func() { p.confirmsHeld = true })
}

// ReleaseConfirms forwards the confirms that were kept back, and what comes next.
func (p *AMQPProxy) ReleaseConfirms() {
	p.update(func() { p.confirmsHeld, p.confirmDelay = false, 0 })
}

// DelayConfirms lets the broker's confirms arrive d later, and nothing else.
func (p *AMQPProxy) DelayConfirms(d time.Duration) {
	p.update(func() { p.confirmDelay = d })
}

// Methods that matter to confirms, as class and method id.
const (
	methodChannelClose   = 20<<16 | 40
	methodChannelCloseOK = 20<<16 | 41
	methodBasicAck       = 60<<16 | 80
	methodBasicNack      = 60<<16 | 120
)

// classify tells what forward must know of a frame that record has seen.
func (d *direction) classify(frame []byte) heldFrame {
	f := heldFrame{bytes: frame, arrived: time.Now(), channel: binary.BigEndian.Uint16(frame[1:])}
	f.partial = d.open[f.channel] != nil
	if d.fromClient || frame[0] != frameMethod || len(frame) < frameOverhead+4 {
		return f
	}
	switch binary.BigEndian.Uint32(frame[7:]) {
	case methodBasicAck, methodBasicNack:
		f.confirm = true
	case methodChannelClose, methodChannelCloseOK:
		f.last = true
	}
	return f
}

// lateConfirms are the confirms of one connection that were overtaken by other frames.
type lateConfirms struct {
	frames []heldFrame     // in the order of their coming
	open   map[uint16]bool // channels on which a message is half written
}

// write writes one frame, or keeps it when it is a confirm that is to come later.
func (l *lateConfirms) write(to io.Writer, f heldFrame, keep bool) error {
	if f.confirm && (keep || len(l.frames) > 0) {
		l.frames = append(l.frames, f)
		return nil
	}
	if f.last {
		// Nothing may come on a channel that ended: its confirms are lost with it.
		l.frames = slices.DeleteFunc(l.frames, func(c heldFrame) bool { return c.channel == f.channel })
	}
	l.open[f.channel] = f.partial
	_, err := to.Write(f.bytes)
	return err
}

// flush writes the confirms that are as old as delay. It returns how long the next one has
// to wait; zero is for the next frame.
func (l *lateConfirms) flush(to io.Writer, delay time.Duration) (time.Duration, error) {
	for len(l.frames) > 0 {
		f := l.frames[0]
		if wait := delay - time.Since(f.arrived); wait > 0 {
			return wait, nil
		}
		if l.open[f.channel] {
			return 0, nil
		}
		l.frames = l.frames[1:]
		if _, err := to.Write(f.bytes); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// release writes the confirms that are due. due fires when the next one is, and changed when
// the proxy's state changed; both are nil when there is nothing to wait for.
func (p *AMQPProxy) release(to io.Writer, l *lateConfirms) (due <-chan time.Time, changed <-chan struct{}, err error) {
	if len(l.frames) == 0 {
		return nil, nil, nil
	}
	p.mu.Lock()
	held, delay, changed := p.confirmsHeld || p.paused, p.confirmDelay, p.changed
	p.mu.Unlock()
	if held {
		return nil, changed, nil
	}
	wait, err := l.flush(to, delay)
	if wait > 0 {
		due = time.After(wait)
	}
	return due, changed, err
}

// keepsConfirms says whether a confirm that comes now has to wait.
func (p *AMQPProxy) keepsConfirms() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.confirmsHeld || p.confirmDelay > 0
}

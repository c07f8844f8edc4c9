// SPDX-License-Identifier: Apache-2.0

package zmtp

import (
	"encoding/binary"
	"sync"
	"time"
)

// pingBacklog is how many queued bytes make a PING or PONG needless: what the peer reads before it
// would come to them is proof enough. It also bounds the PONGs for a peer that does not read.
const pingBacklog = 64 * kib

// pinger calls a function at intervals. It is a timer and no goroutine.
type pinger struct {
	mu      sync.Mutex
	timer   *time.Timer // guarded by mu, nil when there are no PINGs
	stopped bool        // guarded by mu
}

func (p *pinger) start(interval time.Duration, f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer = time.AfterFunc(interval, func() {
		f()
		p.mu.Lock()
		defer p.mu.Unlock()
		if !p.stopped {
			p.timer.Reset(interval)
		}
	})
}

func (p *pinger) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	if p.timer != nil {
		p.timer.Stop()
	}
}

// tick sends a PING. The TTL in it lets the peer notice in the same time that we are gone.
func (c *Conn) tick() {
	c.out.trim()
	tenths := min(c.guard.window/(100*time.Millisecond), 1<<16-1)
	c.command(cmdPing, binary.BigEndian.AppendUint16(nil, uint16(tenths)))
}

func (c *Conn) pong(context []byte) { c.command(cmdPong, context) }

// command queues a command, unless it is needless or the Conn ends, which others see.
func (c *Conn) command(name string, data []byte) {
	_ = c.out.add(2+len(name)+len(data), pingBacklog, func() error { return c.zc.SendCmd(name, data) })
}

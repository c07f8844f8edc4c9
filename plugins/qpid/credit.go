// SPDX-License-Identifier: Apache-2.0

package main

import "sync"

// credit keeps what a peer may send on one link within a limit: what it was asked for and has not
// sent, and what it sent and is neither returned by Poll nor settled (POLL-1). It asks for more when
// half of the free part is used, as upstream does (oslo_messaging/_drivers/amqp1_driver/controller.py).
type credit struct {
	limit func() int         // the limit of now; zero as long as nobody polls
	issue func(uint32) error // does not wait; fails when the link is gone

	mu     sync.Mutex
	asked  int  // guarded by mu
	held   int  // guarded by mu
	halted bool // guarded by mu
}

// came counts a message that the peer sent.
func (c *credit) came() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked--
	c.held++
}

// hold counts a message that is given to Poll once more.
func (c *credit) hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held++
}

// freed counts a message that Poll returned or that was settled, and asks for more.
func (c *credit) freed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held--
	c.ask()
}

// grow asks for more when the limit was raised.
func (c *credit) grow() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ask()
}

// halt asks for no more, ever.
func (c *credit) halt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.halted = true
}

// ask asks for what is free, with the lock held: halt must not come between the decision and the
// asking.
func (c *credit) ask() {
	free := c.limit() - c.asked - c.held
	if c.halted || free <= 0 || free < c.asked {
		return
	}
	if c.issue(uint32(free)) == nil {
		c.asked += free
	}
}

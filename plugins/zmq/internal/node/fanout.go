// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// copies tells the fate of a message that went out several times, when that of each copy is known.
type copies struct {
	message *driver.Message
	report  func(error)
	open    int
	all     int
	errs    []error
}

// one is the report of a single copy.
func (c *copies) one(err error) {
	c.open--
	if err != nil {
		c.errs = append(c.errs, err)
	}
	if c.open > 0 {
		return
	}
	c.report(c.result())
}

// giveUp tells the fate of the copies that is known by now.
func (c *copies) giveUp(cause error) {
	if c.open == 0 {
		return
	}
	err := driver.Errorf(driver.ReasonNotConnected, "send %s: %d of %d receivers have not answered: %w", describe(c.message), c.open, c.all, cause)
	err.InDoubt = true
	c.report(err)
	c.report = func(error) {}
}

func (c *copies) result() error {
	if len(c.errs) == 0 {
		return nil
	}
	first, _ := errors.AsType[*driver.Error](c.errs[0])
	err := driver.Errorf(driver.ReasonOf(c.errs[0]), "send %s: %d of %d receivers have it, the first failure: %w",
		describe(c.message), c.all-len(c.errs), c.all, c.errs[0])
	err.InDoubt = c.all > len(c.errs) || first != nil && first.InDoubt
	return err
}

// split sends a copy of pc to each of the given ways; pc itself is gone then.
func (n *Node) split(pc *parcel, all int, send func(i int, one *parcel)) {
	c := &copies{message: &pc.message, report: pc.report, open: all, all: all}
	if pc.report == nil {
		c.report = func(error) {}
	} else {
		n.pending.told()
	}
	pc.report, pc.split = nil, c
	n.pending.give(pc.size)
	for i := range all {
		one := *pc
		one.split = nil
		one.report = c.one
		n.pending.take(pc.size)
		send(i, &one)
	}
}

// fanout sends a copy to every node with a server of the topic, as far as they are known now. One
// that cannot be reached is given a moment, and is then told apart in the error.
func (n *Node) fanout(pc *parcel, now time.Time) {
	topic := pc.to
	topic.server = ""
	var to []*peer
	for _, p := range n.candidates(topic) {
		if p.hearsFanout(topic, pc.message.Target.Scoped) {
			to = append(to, p)
		}
	}
	switch {
	case n.phase == searching:
		n.waitForSearch(pc)
	case len(to) == 0:
		n.tell(pc, nil) // nobody is everybody
		n.drop(pc)
	default:
		n.split(pc, len(to), func(i int, one *parcel) {
			one.to = to[i].key()
			n.dispatch(one, now)
		})
	}
}

// waitForSearch keeps fanouts and notifications until the first discovery is over.
func (n *Node) waitForSearch(pc *parcel) { n.early.push(pc) }

// notify sends a copy to each pool, or waits for the first to listen.
func (n *Node) notify(pc *parcel, now time.Time) {
	pools := n.routes.pools[pc.to]
	switch {
	case n.phase == searching:
		n.waitForSearch(pc)
	case len(pools) == 0 && n.spools():
		n.toDisk(pc)
	case len(pools) == 0:
		n.wait(pc, now)
	default:
		n.split(pc, len(pools), func(i int, one *parcel) {
			one.pool, one.to.pool, one.pooled = pools[i], pools[i], true
			n.dispatch(one, now)
		})
	}
}

// retryNotifications gives notifications that nobody listened to their pools.
func (n *Node) retryNotifications(k key, now time.Time) bool {
	if k.kind != driver.SourceNotifications || k.pool != "" || len(n.routes.pools[k]) == 0 {
		return false
	}
	q := n.waiting[k]
	delete(n.waiting, k)
	n.waits -= q.len()
	for q.len() > 0 {
		pc := q.pop()
		if pc.pooled {
			n.dispatch(pc, now)
			continue
		}
		n.notify(pc, now)
	}
	return true
}

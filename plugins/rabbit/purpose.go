// SPDX-License-Identifier: Apache-2.0

package main

import "github.com/parleymq/parley/plugin/driver"

// purpose is what a queue that others may share is for. RabbitMQ has one queue of a name, whatever
// it was meant for, and a second purpose would take what is meant for the first.
type purpose string

// purposesOf returns the queues of src with what each of them is for.
func purposesOf(src driver.Source) map[string]purpose {
	found := make(map[string]purpose)
	switch src.Kind {
	case driver.SourceServer:
		for _, name := range []string{src.Target.Topic, src.Target.Topic + "." + src.Target.Server} {
			found[name] = "the requests to a topic or server"
		}
	case driver.SourceNotifications:
		for _, n := range src.Notifications {
			if src.Pool == "" {
				found[n.Topic+"."+n.Priority] = "the notifications to listeners without a pool"
			}
		}
		if src.Pool != "" {
			found[src.Pool] = "a pool of notification listeners"
		}
	default: // reply names are chosen to be unlike any other
	}
	return found
}

// checkPurposes refuses a source whose queue this connection uses for something else already, or
// whose pool is one of its own topics. What other connections use a queue for cannot be told over
// AMQP. c.mu is held.
func (c *conn) checkPurposes(src driver.Source) error {
	mine := purposesOf(src)
	if src.Pool != "" {
		unpooled := src
		unpooled.Pool = ""
		for name, other := range purposesOf(unpooled) {
			if p, ok := mine[name]; ok {
				return purposeError(name, p, other)
			}
		}
	}
	for _, l := range c.listeners {
		for name, other := range purposesOf(l.src) {
			if p, ok := mine[name]; ok && p != other {
				return purposeError(name, p, other)
			}
		}
	}
	return nil
}

func purposeError(queue string, mine, other purpose) *driver.Error {
	return driver.Errorf(driver.ReasonConfig, "queue %q would be for %s, and is for %s", queue, mine, other).
		WithHint("choose another name for the pool or topic: RabbitMQ has one queue of a name, and each would take what is meant for the other")
}

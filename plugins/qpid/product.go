// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/qpid/internal/address"
)

// rabbitHint is what to do where RabbitMQ's AMQP 1.0 is not enough.
const rabbitHint = "RabbitMQ's AMQP 1.0 has plain queues and no more: rabbit:// is the driver that can do everything with it"

func (s *session) isRabbitMQ() bool { return strings.HasPrefix(s.product, "RabbitMQ") }

func (s *session) isBrokerJ() bool { return strings.HasPrefix(s.product, "Apache Qpid Broker-J") }

// attachError is linkError of a link to addr that was not attached, with a hint for the peer that it
// is.
func (s *session) attachError(what, addr string, err error) *driver.Error {
	e := linkError(what, err)
	if e == nil || !isFinal(e.Reason) {
		return e
	}
	switch {
	case s.isRabbitMQ():
		return e.WithHint(rabbitHint)
	case s.isBrokerJ() && strings.Contains(addr, "/"):
		return e.WithHint("this broker takes what stands before a slash for the name of an exchange: " +
			"use no slash in exchanges, topics and servers, and addressing_mode=legacy")
	default:
		return e
	}
}

// isFinal reports whether a refusal for that reason is the end of what was tried: waiting does not
// heal it.
func isFinal(r driver.Reason) bool {
	switch r {
	case driver.ReasonNoRoute, driver.ReasonAccessRefused, driver.ReasonUnsupported, driver.ReasonPrecondition, driver.ReasonConfig:
		return true
	default:
		return false
	}
}

// cannot is why the peer cannot have such a node, although it would take the link: RabbitMQ makes a
// queue of whatever name it is given, and a copy for one server only.
func (s *session) cannot(node address.Node) *driver.Error {
	if node != address.Multicast || !s.isRabbitMQ() {
		return nil
	}
	return driver.Errorf(driver.ReasonUnsupported, "RabbitMQ's AMQP 1.0 has no fanout: only one server would get the message").WithHint(rabbitHint)
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"log/slog"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/parleymq/parley/plugin/driver"
)

// declarer declares objects over a channel of its own, because a broker answers a refused
// declaration by closing the channel with all that is in flight on it. It belongs to one
// goroutine.
type declarer struct {
	conn *amqp.Connection
	ch   *amqp.Channel
	log  *slog.Logger
	// found is told of each queue that was declared to be bound.
	found func(amqp.Queue)
}

func newDeclarer(conn *amqp.Connection, log *slog.Logger) *declarer {
	return &declarer{conn: conn, log: log, found: func(amqp.Queue) {}}
}

// close gives the channel back.
func (d *declarer) close() {
	if d.ch != nil {
		_ = d.ch.Close() // fails only when the connection is gone, and the channel with it
		d.ch = nil
	}
}

// do runs one declaration, on a new channel if the last was closed.
func (d *declarer) do(f func(*amqp.Channel) error) error {
	if d.ch == nil || d.ch.IsClosed() {
		ch, err := d.conn.Channel()
		if err != nil {
			return err
		}
		d.ch = ch
	}
	return f(d.ch)
}

func (d *declarer) topology(t topology) *driver.Error {
	for _, b := range t.bindings {
		if err := d.binding(b); err != nil {
			return err
		}
	}
	return nil
}

// binding declares exchange, queue and binding.
func (d *declarer) binding(b binding) *driver.Error {
	if err := d.exchange(b.exchange); err != nil {
		return err
	}
	queue, err := d.queue(b.queue)
	if err != nil {
		return err
	}
	d.found(queue)
	bindErr := d.do(func(ch *amqp.Channel) error {
		return ch.QueueBind(b.queue.name, b.key, b.exchange.name, false, nil)
	})
	if bindErr != nil {
		return brokerError("bind queue "+quote(b.queue.name)+" to exchange "+quote(b.exchange.name), bindErr)
	}
	return nil
}

func (d *declarer) exchange(e exchangeSpec) *driver.Error {
	err := d.do(func(ch *amqp.Channel) error {
		return ch.ExchangeDeclare(e.name, e.kind, e.durable, e.autoDelete, false, false, nil)
	})
	return d.adopt("exchange", e.name, err, false, func(ch *amqp.Channel) error {
		return ch.ExchangeDeclarePassive(e.name, e.kind, e.durable, e.autoDelete, false, false, nil)
	})
}

// queue returns what the broker told of it, before it was bound.
func (d *declarer) queue(q queueSpec) (told amqp.Queue, _ *driver.Error) {
	err := d.do(func(ch *amqp.Channel) (err error) {
		told, err = ch.QueueDeclare(q.name, q.durable, q.autoDelete, false, false, q.args)
		return err
	})
	return told, d.adopt("queue", q.name, err, q.limited, func(ch *amqp.Channel) (err error) {
		told, err = ch.QueueDeclarePassive(q.name, q.durable, q.autoDelete, false, false, q.args)
		return err
	})
}

// adopt takes an object that others declared with another lifetime as it is (LISTEN-3): it
// works all the same, and a service that cannot start helps nobody. Upstream does so for
// exchanges that are not durable, since 17.2.0. The limits of a queue of notifications are such a
// difference too: peers in Python have none. Any other difference is an error.
func (d *declarer) adopt(kind, name string, err error, limited bool, passive func(*amqp.Channel) error) *driver.Error {
	if err == nil {
		return nil
	}
	what := "declare " + kind + " " + quote(name)
	e, ok := errors.AsType[*amqp.Error](err)
	if !ok || e.Code != amqp.PreconditionFailed {
		return brokerError(what, err)
	}
	differs := inequivalentArg(e.Reason)
	if differs != "durable" && differs != "auto_delete" && (!limited || !isLimit(differs)) {
		return brokerError(what, err)
	}
	if perr := d.do(passive); perr != nil {
		return brokerError(what, err)
	}
	d.log.Warn("using an object of the broker as it is; make the options of all services agree",
		"kind", kind, "name", name, "differs", differs, "broker", e.Reason)
	return nil
}

// isLimit reports whether an argument of a queue bounds what it holds, and changes nothing else.
func isLimit(arg string) bool {
	switch arg {
	case amqp.QueueMaxLenArg, amqp.QueueMaxLenBytesArg, amqp.QueueMessageTTLArg, amqp.QueueOverflowArg:
		return true
	default:
		return false
	}
}

func quote(name string) string { return `"` + name + `"` }

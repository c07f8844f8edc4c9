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
}

func newDeclarer(conn *amqp.Connection, log *slog.Logger) *declarer {
	return &declarer{conn: conn, log: log}
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
	if err := d.queue(b.queue); err != nil {
		return err
	}
	err := d.do(func(ch *amqp.Channel) error {
		return ch.QueueBind(b.queue.name, b.key, b.exchange.name, false, nil)
	})
	if err != nil {
		return brokerError("bind queue "+quote(b.queue.name)+" to exchange "+quote(b.exchange.name), err)
	}
	return nil
}

func (d *declarer) exchange(e exchangeSpec) *driver.Error {
	err := d.do(func(ch *amqp.Channel) error {
		return ch.ExchangeDeclare(e.name, e.kind, e.durable, e.autoDelete, false, false, nil)
	})
	return d.adopt("exchange", e.name, err, func(ch *amqp.Channel) error {
		return ch.ExchangeDeclarePassive(e.name, e.kind, e.durable, e.autoDelete, false, false, nil)
	})
}

func (d *declarer) queue(q queueSpec) *driver.Error {
	err := d.do(func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare(q.name, q.durable, q.autoDelete, false, false, q.args)
		return err
	})
	return d.adopt("queue", q.name, err, func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclarePassive(q.name, q.durable, q.autoDelete, false, false, q.args)
		return err
	})
}

// adopt takes an object that others declared with another lifetime as it is (LISTEN-3): it
// works all the same, and a service that cannot start helps nobody. Upstream does so for
// exchanges that are not durable, since 17.2.0. Any other difference is an error.
func (d *declarer) adopt(kind, name string, err error, passive func(*amqp.Channel) error) *driver.Error {
	if err == nil {
		return nil
	}
	what := "declare " + kind + " " + quote(name)
	e, ok := errors.AsType[*amqp.Error](err)
	if !ok || e.Code != amqp.PreconditionFailed {
		return brokerError(what, err)
	}
	differs := inequivalentArg(e.Reason)
	if differs != "durable" && differs != "auto_delete" {
		return brokerError(what, err)
	}
	if perr := d.do(passive); perr != nil {
		return brokerError(what, err)
	}
	d.log.Warn("using an object of the broker as it is; make the options of all services agree",
		"kind", kind, "name", name, "differs", differs, "broker", e.Reason)
	return nil
}

func quote(name string) string { return `"` + name + `"` }

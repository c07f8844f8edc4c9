// SPDX-License-Identifier: Apache-2.0

package main

import (
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/parleymq/parley/plugin/driver"
)

// login is a SASL mechanism that also tells the broker that we understand a refusal.
//
// Without the capability authentication_failure_close RabbitMQ answers a wrong password by
// closing the socket, which looks like a broker that died. The library has a list of
// capabilities of its own, sets it just before it asks for the response, and encodes it
// after; so the response is where ours can be added.
type login struct {
	amqp.Authentication
	properties amqp.Table
}

func newLogin(method string, h driver.Host, properties amqp.Table) *login {
	l := &login{properties: properties}
	if method == loginPlain {
		l.Authentication = &amqp.PlainAuth{Username: h.User, Password: h.Password.Reveal()}
	} else {
		l.Authentication = &amqp.AMQPlainAuth{Username: h.User, Password: h.Password.Reveal()}
	}
	return l
}

// Response implements amqp.Authentication.
func (l *login) Response() string {
	if caps, ok := l.properties["capabilities"].(amqp.Table); ok {
		caps["authentication_failure_close"] = true
	}
	return l.Authentication.Response()
}

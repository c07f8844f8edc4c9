// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/parleymq/parley/plugin/driver"
)

// connectError is why host could not be connected.
func connectError(host string, h driver.Host, vhost string, err error) *driver.Error {
	if errors.Is(err, amqp.ErrSASL) {
		return driver.Errorf(driver.ReasonAuthRefused, "%s does not know the login method", host).
			WithHint("set %s to a method the broker offers", optLoginMethod)
	}
	e, ok := errors.AsType[*amqp.Error](err)
	if !ok || !e.Server {
		return driver.Errorf(driver.ReasonNotConnected, "cannot connect to %s: %w", host, err).
			WithHint("check that the broker runs and that host and port are right")
	}
	switch {
	case e.Code == amqp.AccessRefused:
		return driver.Errorf(driver.ReasonAuthRefused, "%s refused the login of user %q", host, h.User).
			WithHint("check user and password in the URL")
	case e.Code == amqp.NotAllowed && strings.Contains(e.Reason, "limit"):
		return driver.Errorf(driver.ReasonNotConnected, "%s takes no more connections: %s", host, e.Reason)
	case e.Code == amqp.NotAllowed || e.Code == amqp.InvalidPath:
		return driver.Errorf(driver.ReasonVirtualHostMissing, "%s has no virtual host %q for user %q", host, vhost, h.User).
			WithHint("create the virtual host, allow the user to use it, or change the path of the URL")
	default:
		return driver.Errorf(driver.ReasonNotConnected, "%s closed the connection: %s", host, e.Reason)
	}
}

// lostError is why a connection that worked ended.
func lostError(host string, err *amqp.Error) *driver.Error {
	if err == nil {
		return driver.Errorf(driver.ReasonNotConnected, "the connection to %s was closed", host)
	}
	return driver.Errorf(driver.ReasonNotConnected, "the connection to %s was lost: %s", host, err.Reason)
}

// brokerError is what the broker's answer to an operation on a thing means. Anything that is
// not the broker's own answer means that the connection is gone.
func brokerError(what string, err error) *driver.Error {
	e, ok := errors.AsType[*amqp.Error](err)
	if !ok || !e.Server {
		return driver.Errorf(driver.ReasonNotConnected, "%s: the connection was lost: %w", what, err)
	}
	switch e.Code {
	case amqp.AccessRefused:
		return driver.Errorf(driver.ReasonAccessRefused, "%s: %s", what, e.Reason).
			WithHint("give the user the permission to %s it: rabbitmqctl set_permissions -p VHOST USER CONFIGURE WRITE READ", permission(what, e.Reason))
	case amqp.PreconditionFailed, amqp.ResourceLocked:
		return preconditionError(what, e)
	case amqp.ConnectionForced:
		return driver.Errorf(driver.ReasonNotConnected, "%s: %s", what, e.Reason)
	default:
		return driver.Errorf(driver.ReasonInternal, "%s: the broker answered %d %s", what, e.Code, e.Reason)
	}
}

// refused reports whether the broker does not allow an operation.
func refused(err error) bool {
	e, ok := errors.AsType[*amqp.Error](err)
	return ok && e.Server && e.Code == amqp.AccessRefused
}

// permission is which of RabbitMQ's three a refused operation needs. Brokers before 3.11 do not say
// it.
func permission(what, reason string) string {
	verb, _, _ := strings.Cut(what, " ")
	switch {
	case verb == "declare", verb == "delete":
		return "configure"
	case verb == "publish", verb == "bind" && strings.Contains(reason, "access to queue"):
		return "write"
	default: // a binding reads from its exchange
		return "read"
	}
}

func preconditionError(what string, e *amqp.Error) *driver.Error {
	differs := inequivalentArg(e.Reason)
	if differs == "" {
		return driver.Errorf(driver.ReasonPrecondition, "%s: %s", what, e.Reason)
	}
	return driver.Errorf(driver.ReasonPrecondition, "%s: it exists with another %s: %s", what, differs, e.Reason).
		WithHint("make the options of all services that share it agree, or delete it at the broker")
}

// inequivalentArg finds the property that RabbitMQ names in the text of a 406, which is the
// only place where it does.
func inequivalentArg(reason string) string {
	_, rest, ok := strings.Cut(reason, "inequivalent arg '")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, "'")
	return name
}

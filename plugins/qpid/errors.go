// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	amqp "github.com/Azure/go-amqp"

	"github.com/parleymq/parley/plugin/driver"
)

// maxForeign bounds a text of the peer in our errors, in bytes.
const maxForeign = 500

// linkError is what err of the AMQP library means for what was tried, such as "attach a sender to
// unicast.openstack.t": the peer's answer when there is one, else the loss of the link, its session
// or the connection (NOT_CONNECTED). It is nil for nil.
func linkError(what string, err error) *driver.Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*driver.Error](err); ok {
		return e
	}
	if e, ok := errors.AsType[*amqp.ConnError](err); ok {
		if e.RemoteErr != nil {
			return driver.Errorf(driver.ReasonNotConnected, "%s: the peer closed the connection: %s", what, answerText(e.RemoteErr))
		}
		return driver.Errorf(driver.ReasonNotConnected, "%s: the connection was lost: %s", what, foreign(err.Error()))
	}
	if e, ok := errors.AsType[*amqp.Error](err); ok {
		return answerError(what, e)
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return driver.Errorf(driver.ReasonNotConnected, "%s: the peer did not answer in time", what).
			WithHint("the peer is too busy, or it does not know the answer: its log may say more")
	case errors.Is(err, context.Canceled):
		return driver.Errorf(driver.ReasonCancelled, "%s: given up", what)
	}
	if _, ok := errors.AsType[*amqp.SessionError](err); ok {
		return driver.Errorf(driver.ReasonNotConnected, "%s: the session was ended: %s", what, foreign(err.Error()))
	}
	if _, ok := errors.AsType[*amqp.LinkError](err); ok {
		return driver.Errorf(driver.ReasonNotConnected, "%s: the link was closed: %s", what, foreign(err.Error()))
	}
	return driver.Errorf(driver.ReasonInternal, "%s: %s", what, foreign(err.Error()))
}

// answerError is what the peer's error means, which is also that of a rejected message. e may be
// nil: the peer gave no reason.
func answerError(what string, e *amqp.Error) *driver.Error {
	if e == nil {
		return driver.Errorf(driver.ReasonInternal, "%s: the peer refused it and does not say why", what).
			WithHint("the peer's log may say more")
	}
	reason, hint := meaning(e.Condition)
	out := driver.Errorf(reason, "%s: %s", what, answerText(e))
	if hint != "" {
		return out.WithHint("%s", hint)
	}
	return out
}

// meaning is the reason for a condition, and what a person can do about it.
func meaning(c amqp.ErrCond) (driver.Reason, string) {
	switch c {
	case amqp.ErrCondNotFound, amqp.ErrCondResourceDeleted:
		return driver.ReasonNoRoute, "make that node at the broker, or let it make nodes by their names: parley doctor tells how"
	case amqp.ErrCondUnauthorizedAccess, amqp.ErrCondNotAllowed:
		return driver.ReasonAccessRefused, "let the user of the URL do that at the broker"
	case amqp.ErrCondResourceLimitExceeded:
		return driver.ReasonBrokerBlocked, "a limit of the broker is reached: empty the queue, free memory or disk space, or raise the limit"
	case amqp.ErrCondTransferLimitExceeded:
		return driver.ReasonBrokerBlocked, "the peer grants no credit: a router does so while nobody listens, a broker when it is full"
	case amqp.ErrCondMessageSizeExceeded:
		return driver.ReasonMessageTooLarge, "send less, or raise the limit of the broker"
	case amqp.ErrCondPreconditionFailed, amqp.ErrCondInvalidField, amqp.ErrCondResourceLocked, amqp.ErrCondStolen:
		return driver.ReasonPrecondition, "compare the node at the broker with what the driver's documentation asks for"
	case amqp.ErrCondNotImplemented:
		return driver.ReasonUnsupported, "this peer cannot do it; the driver's documentation has a table of brokers"
	case amqp.ErrCondDetachForced, amqp.ErrCondConnectionForced, amqp.ErrCondConnectionRedirect, amqp.ErrCondLinkRedirect:
		return driver.ReasonNotConnected, ""
	default:
		return driver.ReasonInternal, ""
	}
}

// condition is the peer's error condition in err, "" when it gave none.
func condition(err error) amqp.ErrCond {
	if e, ok := errors.AsType[*amqp.Error](err); ok {
		return e.Condition
	}
	return ""
}

// connectionLost reports whether err of the AMQP library means that the whole connection is gone.
func connectionLost(err error) bool {
	_, ok := errors.AsType[*amqp.ConnError](err)
	return ok
}

// sessionLost reports whether err of the AMQP library means that the session is gone, which the
// connection may have survived.
func sessionLost(err error) bool {
	_, ok := errors.AsType[*amqp.SessionError](err)
	return ok || connectionLost(err)
}

// detached reports whether a link that ended with err leaves its session as it was: it was closed in
// order, or by the peer.
func detached(err error) bool {
	if err == nil {
		return true
	}
	if e, ok := errors.AsType[*amqp.LinkError](err); ok {
		return e.RemoteErr != nil
	}
	_, answered := errors.AsType[*amqp.Error](err)
	return answered && !sessionLost(err)
}

// lostError is why the connection to host, which worked, ended. err may be nil.
func lostError(host string, err error) *driver.Error {
	if e, ok := errors.AsType[*amqp.Error](err); ok {
		return driver.Errorf(driver.ReasonNotConnected, "%s closed the connection: %s", host, answerText(e))
	}
	if err == nil {
		return driver.Errorf(driver.ReasonNotConnected, "the connection to %s was closed", host)
	}
	return driver.Errorf(driver.ReasonNotConnected, "the connection to %s was lost: %s", host, foreign(err.Error()))
}

// answerText is the peer's error for people.
func answerText(e *amqp.Error) string {
	if e.Description == "" {
		return foreign(string(e.Condition))
	}
	return fmt.Sprintf("%s (%s)", foreign(e.Description), foreign(string(e.Condition)))
}

// foreign makes a text of the peer fit for one line of a log.
func foreign(text string) string {
	clean := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	if len(clean) > maxForeign {
		clean = strings.ToValidUTF8(clean[:maxForeign], "") + "..."
	}
	return clean
}

// fullError says that the peer allows no more sessions.
func fullError(host string, limit int) *driver.Error {
	return driver.Errorf(driver.ReasonBrokerBlocked, "%s allows %d sessions on a connection, and all are in use", host, limit).
		WithHint("raise channel-max at the peer (Broker-J: qpid.port.sessionCountLimit)")
}

// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Reason is the cause of an [Error]: one of a closed list, the same in every language and on
// both sides of the process boundary. Texts are for people and are never matched.
type Reason string

// The reasons.
const (
	// ReasonNotConnected: the broker cannot be reached now.
	ReasonNotConnected Reason = "NOT_CONNECTED"
	// ReasonAuthRefused: the broker refused the user, password or mechanism.
	ReasonAuthRefused Reason = "AUTH_REFUSED"
	// ReasonTLSFailed: no secure channel could be agreed or the peer was not verified.
	ReasonTLSFailed Reason = "TLS_FAILED"
	// ReasonVirtualHostMissing: the broker has no such virtual host, or not for this user.
	ReasonVirtualHostMissing Reason = "VIRTUAL_HOST_MISSING"
	// ReasonNoRoute: nobody can receive a Mandatory message, or, with CapDirect, nobody listened for
	// a message in its time.
	ReasonNoRoute Reason = "NO_ROUTE"
	// ReasonPrecondition: an object exists at the broker with other properties.
	ReasonPrecondition Reason = "PRECONDITION"
	// ReasonAccessRefused: the user may not do that at the broker.
	ReasonAccessRefused Reason = "ACCESS_REFUSED"
	// ReasonBrokerBlocked: the broker is connected and takes no messages.
	ReasonBrokerBlocked Reason = "BROKER_BLOCKED"
	// ReasonMessageTooLarge: the message is above a limit, which the text names.
	ReasonMessageTooLarge Reason = "MESSAGE_TOO_LARGE"
	// ReasonExpired: the message's TimeLeft ran out.
	ReasonExpired Reason = "EXPIRED"
	// ReasonCancelled: the sender's ctx ended before the message was sent.
	ReasonCancelled Reason = "CANCELLED"
	// ReasonUnsupported: the driver or broker cannot do it.
	ReasonUnsupported Reason = "UNSUPPORTED"
	// ReasonConfig: the URL or an option is wrong.
	ReasonConfig Reason = "CONFIG"
	// ReasonClosed: the Conn or Listener is closed.
	ReasonClosed Reason = "CLOSED"
	// ReasonDriverGone: the driver's process ended or could not be started.
	ReasonDriverGone Reason = "DRIVER_GONE"
	// ReasonDriverBug: the driver panicked or broke the contract.
	ReasonDriverBug Reason = "DRIVER_BUG"
	// ReasonProtocol: the two sides of the process boundary do not understand each other.
	ReasonProtocol Reason = "PROTOCOL"
	// ReasonInternal: the broker failed in a way that fits nothing above.
	ReasonInternal Reason = "INTERNAL"
)

// Reasons returns the closed list.
func Reasons() []Reason {
	return []Reason{
		ReasonNotConnected, ReasonAuthRefused, ReasonTLSFailed, ReasonVirtualHostMissing,
		ReasonNoRoute, ReasonPrecondition, ReasonAccessRefused, ReasonBrokerBlocked,
		ReasonMessageTooLarge, ReasonExpired, ReasonCancelled, ReasonUnsupported, ReasonConfig,
		ReasonClosed, ReasonDriverGone, ReasonDriverBug, ReasonProtocol, ReasonInternal,
	}
}

// Known reports whether the reason is on the closed list.
func (r Reason) Known() bool { return slices.Contains(Reasons(), r) }

// Error is a failure of a driver, or of the host that runs it.
//
//	ERR-1  Drivers return *Error for every failure that a caller could tell apart; anything
//	       else counts as ReasonInternal. An error of ctx may be returned as it is.
//	ERR-2  Message says what failed and on what. Hint says what to do, when that is known.
//	       Neither holds a password.
type Error struct {
	Reason  Reason
	Message string
	// Hint tells a person what to do next; may be empty.
	Hint string
	// Retryable: the same call may succeed later, unchanged.
	Retryable bool
	// InDoubt: a message may or may not have reached the broker. Sending it again can make
	// it arrive twice.
	InDoubt bool
	// RetryAfter is the driver's advice when to try again; zero for none.
	RetryAfter time.Duration
	// Err is the cause within the same process; it does not cross a process boundary.
	Err error
}

// Errorf makes an Error with a formatted message. A %w operand becomes Err.
func Errorf(reason Reason, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Reason: reason, Message: err.Error(), Retryable: reason.Retryable(), Err: errors.Unwrap(err)}
}

// Retryable is what the reason alone says of trying again.
func (r Reason) Retryable() bool {
	switch r {
	case ReasonNotConnected, ReasonBrokerBlocked, ReasonDriverGone, ReasonInternal:
		return true
	default:
		return false
	}
}

// WithHint sets Hint and returns e.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// Error returns the message, the hint and the reason.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Message)
	if e.InDoubt {
		b.WriteString(" (it may have reached the broker)")
	}
	if e.Hint != "" {
		b.WriteString("; ")
		b.WriteString(e.Hint)
	}
	fmt.Fprintf(&b, " [%s]", e.Reason)
	return b.String()
}

// Unwrap returns the cause, if it happened in this process.
func (e *Error) Unwrap() error { return e.Err }

// Is makes errors.Is(err, &Error{Reason: r}) ask for the reason alone, and lets a cancelled
// or expired message be asked for by the errors of package context.
func (e *Error) Is(target error) bool {
	switch target {
	case context.Canceled:
		return e.Reason == ReasonCancelled
	case context.DeadlineExceeded:
		return e.Reason == ReasonExpired
	}
	t, ok := target.(*Error)
	return ok && t.Message == "" && t.Reason == e.Reason
}

// ReasonOf returns the reason of the first *Error in err's tree, or ReasonInternal.
func ReasonOf(err error) Reason {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	switch {
	case errors.Is(err, context.Canceled):
		return ReasonCancelled
	case errors.Is(err, context.DeadlineExceeded):
		return ReasonExpired
	default:
		return ReasonInternal
	}
}

// AsError returns err as an *Error, wrapping what is none. It returns nil for nil.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	reason := ReasonOf(err)
	return &Error{Reason: reason, Message: err.Error(), Retryable: reason.Retryable(), Err: err}
}

// BatchError is what Send returns when some messages of the batch failed (SEND-2).
type BatchError struct {
	// Errs has one entry for each message of the batch; nil for those that succeeded.
	Errs []error
}

// Error counts the failures and quotes the first.
func (e *BatchError) Error() string {
	n, first := 0, error(nil)
	for _, err := range e.Errs {
		if err == nil {
			continue
		}
		if first == nil {
			first = err
		}
		n++
	}
	return fmt.Sprintf("%d of %d messages failed, first: %v", n, len(e.Errs), first)
}

// Unwrap returns the failures, so that errors.Is and errors.As look into them.
func (e *BatchError) Unwrap() []error {
	var errs []error
	for _, err := range e.Errs {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// MessageErr returns what Send's error err says of message i of its batch.
func MessageErr(err error, i int) error {
	if b, ok := errors.AsType[*BatchError](err); ok {
		if i < len(b.Errs) {
			return b.Errs[i]
		}
		return nil
	}
	return err
}

// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/parleymq/parley/plugin/driver"
)

// Code is the kind of an [Error]: a closed list, stable, fit for programs and metrics.
type Code string

// The codes. Each has a sentinel for errors.Is.
const (
	CodeNoReply       Code = "no_reply"
	CodeExpired       Code = "expired"
	CodeUndeliverable Code = "undeliverable"
	CodeVersionCap    Code = "version_cap"
	CodeInvalidTarget Code = "invalid_target"
	CodeInvalidURL    Code = "invalid_url"
	CodeUnavailable   Code = "unavailable"
	CodeRefused       Code = "refused"
	CodeInDoubt       Code = "in_doubt"
	CodeClosed        Code = "closed"
	CodeServerClosed  Code = "server_closed"
	CodeTooLarge      Code = "too_large"
	CodeSpoolFull     Code = "spool_full"
	CodeConfig        Code = "config"
	CodeUnsupported   Code = "unsupported"
	CodeEncoding      Code = "encoding"
	CodePanic         Code = "panic"
	CodeInternal      Code = "internal"
)

// The sentinels: errors.Is(err, ErrNoReply) asks whether err is an [Error] of that code.
var (
	// ErrNoReply: a call's time ran out without an answer. The method may have run, may run
	// still, or may never have. It is also context.DeadlineExceeded.
	ErrNoReply error = sentinel{CodeNoReply, "no reply in time"}
	// ErrExpired: a message was not sent in its time, and will not be. It is also
	// context.DeadlineExceeded.
	ErrExpired error = sentinel{CodeExpired, "not sent in time"}
	// ErrUndeliverable: a mandatory message that nobody can receive; without a broker
	// (driver.CapDirect) also one that nobody listened for in its time. The method did not run.
	ErrUndeliverable error = sentinel{CodeUndeliverable, "nobody can receive the message"}
	// ErrVersionCap: the request's version is above the client's cap. Nothing was sent.
	ErrVersionCap error = sentinel{CodeVersionCap, "version is above the cap"}
	// ErrInvalidTarget: a target does not fit what it is used for. Nothing was sent.
	ErrInvalidTarget error = sentinel{CodeInvalidTarget, "invalid target"}
	// ErrInvalidURL: a transport URL cannot be understood.
	ErrInvalidURL error = sentinel{CodeInvalidURL, "invalid transport URL"}
	// ErrUnavailable: the driver or the broker is not to be had, or the broker does not let
	// this user in. Nothing was sent.
	ErrUnavailable error = sentinel{CodeUnavailable, "driver or broker unavailable"}
	// ErrRefused: the broker is there and does not allow this operation.
	ErrRefused error = sentinel{CodeRefused, "refused by the broker"}
	// ErrInDoubt: a message may or may not have reached the broker. Sending it again can
	// make it arrive twice. A call in doubt waits for its answer all the same: when its time
	// has run out, its error is ErrInDoubt, and ErrNoReply and context.DeadlineExceeded too. When
	// no answer can come any more, because the address that it was to go to is lost, it is
	// ErrInDoubt alone, at once.
	ErrInDoubt error = sentinel{CodeInDoubt, "outcome unknown"}
	// ErrClosed: the transport is closed.
	ErrClosed error = sentinel{CodeClosed, "transport closed"}
	// ErrServerClosed: Serve ended because it was asked to.
	ErrServerClosed error = sentinel{CodeServerClosed, "server closed"}
	// ErrTooLarge: the message is above a limit.
	ErrTooLarge error = sentinel{CodeTooLarge, "message too large"}
	// ErrSpoolFull: a notification was neither taken by the broker nor by the [Spool], which is full.
	ErrSpoolFull error = sentinel{CodeSpoolFull, "spool full"}
	// ErrConfig: an option or the URL does not fit the driver, or the application uses a
	// value in a way it cannot be used.
	ErrConfig error = sentinel{CodeConfig, "wrong configuration"}
	// ErrUnsupported: the driver or the broker cannot do it at all.
	ErrUnsupported error = sentinel{CodeUnsupported, "not supported by the driver"}
	// ErrEncoding: a value cannot be encoded, or what was received does not fit the value
	// that was to take it.
	ErrEncoding error = sentinel{CodeEncoding, "encoding failed"}
	// ErrPanic: a handler, or server middleware, panicked. Server middleware sees it; a caller gets
	// a *RemoteError.
	ErrPanic error = sentinel{CodePanic, "panic"}
	// ErrInternal: the driver or the broker failed in a way that fits nothing above.
	ErrInternal error = sentinel{CodeInternal, "internal failure"}
)

// sentinel is an error that stands for a code.
type sentinel struct {
	code Code
	text string
}

func (s sentinel) Error() string { return "messaging: " + s.text }

// Is lets the sentinels of run-out time be asked for by the error of package context.
func (s sentinel) Is(target error) bool {
	return target == context.DeadlineExceeded && s.code.outOfTime()
}

func (c Code) outOfTime() bool { return c == CodeNoReply || c == CodeExpired }

// Error is every failure that this side of the wire reports. What the far side reports is a
// [RemoteError]. A cancelled context is returned as its own error, unwrapped.
type Error struct {
	// Code is what to decide by; see the sentinels.
	Code Code
	// Op is what was done: "call", "cast", "serve", "parse URL" and so on, with the method.
	Op string
	// Target is what it was done on; zero when there is none.
	Target Target
	// Message says what failed.
	Message string
	// Hint says what to do about it; may be empty.
	Hint string
	// Err is the cause, often a *driver.Error; may be nil.
	Err error
}

// Error returns operation, target, message and hint.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Target != (Target{}) {
		if e.Op != "" {
			b.WriteByte(' ')
		}
		b.WriteString(e.Target.String())
	}
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	b.WriteString(e.text())
	if e.Hint != "" {
		b.WriteString("; ")
		b.WriteString(e.Hint)
	}
	return b.String()
}

func (e *Error) text() string {
	switch {
	case e.Message != "":
		return e.Message
	case e.Err != nil:
		return e.Err.Error()
	default:
		return strings.ReplaceAll(string(e.Code), "_", " ")
	}
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is matches the sentinel of the error's code, and context.DeadlineExceeded when time ran out.
func (e *Error) Is(target error) bool {
	if s, ok := target.(sentinel); ok {
		return s.code == e.Code || s.code == CodeNoReply && e.unanswered()
	}
	return target == context.DeadlineExceeded && e.Code.outOfTime()
}

// unanswered reports whether e is that of a call in doubt that nobody answered in time.
func (e *Error) unanswered() bool {
	return e.Code == CodeInDoubt && (e.Err == context.DeadlineExceeded || e.Err == errMonitor)
}

// CodeOf returns the code of the first [Error] or sentinel in err's tree, CodePanic for a panic,
// and "" when there is none.
func CodeOf(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	if s, ok := errors.AsType[sentinel](err); ok {
		return s.code
	}
	if errors.Is(err, ErrPanic) {
		return CodePanic
	}
	return ""
}

// codeByReason is what each of the driver contract's reasons means to an application.
func codeByReason(r driver.Reason) Code {
	switch r {
	case driver.ReasonNotConnected, driver.ReasonAuthRefused, driver.ReasonTLSFailed,
		driver.ReasonVirtualHostMissing, driver.ReasonBrokerBlocked, driver.ReasonDriverGone:
		return CodeUnavailable
	case driver.ReasonNoRoute:
		return CodeUndeliverable
	case driver.ReasonPrecondition, driver.ReasonAccessRefused:
		return CodeRefused
	case driver.ReasonMessageTooLarge:
		return CodeTooLarge
	case driver.ReasonExpired:
		return CodeExpired
	case driver.ReasonUnsupported:
		return CodeUnsupported
	case driver.ReasonConfig:
		return CodeConfig
	case driver.ReasonClosed, driver.ReasonCancelled:
		return CodeClosed
	default:
		return CodeInternal
	}
}

// fromDriver turns an error of a driver into the application's. It is the only place where
// reasons become codes. Errors of a context and errors of this package pass through.
func fromDriver(op operation, err error) error {
	if err == nil || err == context.Canceled || err == context.DeadlineExceeded {
		return err
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	d := driver.AsError(err)
	e := &Error{Code: codeByReason(d.Reason), Op: op.String(), Target: op.target, Message: d.Message, Hint: d.Hint, Err: err}
	if d.InDoubt {
		e.Code = CodeInDoubt
		e.Message += " (the message may have reached the broker)"
	}
	return e
}

// inDoubt reports whether err leaves it open whether the message reached the broker.
func inDoubt(err error) bool {
	d, ok := errors.AsType[*driver.Error](err)
	return ok && d.InDoubt
}

// operation is what is being done, and on what, for the errors of doing it.
type operation struct {
	verb   string
	method string
	target Target
}

func (o operation) String() string {
	if o.method == "" {
		return o.verb
	}
	return o.verb + " " + truncate(o.method, maxShownMethod)
}

// maxShownMethod is how much of a method's name an error shows.
const maxShownMethod = 128

func (o operation) errorf(code Code, cause error, format string, args ...any) *Error {
	return &Error{Code: code, Op: o.String(), Target: o.target, Message: fmt.Sprintf(format, args...), Err: cause}
}

// wrap turns an error of a driver into the application's.
func (o operation) wrap(err error) error { return fromDriver(o, err) }

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/parleymq/parley/messaging"
)

// The exit statuses.
const (
	exitDone          = 0
	exitRemote        = 1
	exitUsage         = 2
	exitNoReply       = 3
	exitUnavailable   = 4
	exitUndeliverable = 5
	exitInterrupted   = 130
)

// Codes of failures that are not the library's.
const (
	codeRemote      = "remote_error"
	codeUsage       = "usage"
	codeInterrupted = "interrupted"
)

// usageError is a mistake in flags, arguments or files of the command line.
type usageError struct{ message, hint string }

func (e *usageError) Error() string { return e.message + "; " + e.hint }

func usagef(hint, format string, args ...any) error {
	return &usageError{message: fmt.Sprintf(format, args...), hint: hint}
}

// asUsage makes a usage error of what the flag parser says.
func asUsage(err error) error {
	if _, ok := errors.AsType[*usageError](err); ok {
		return err
	}
	return &usageError{message: err.Error(), hint: "see: parley --help"}
}

// shownError is an error that the output has told already; only its status and, for
// programs, its error object are left to report.
type shownError struct{ err error }

func (e *shownError) Error() string { return e.err.Error() }
func (e *shownError) Unwrap() error { return e.err }

// finish reports err and returns the exit status.
func (a *app) finish(ctx context.Context, err error) int {
	if err == nil {
		return exitDone
	}
	interrupted := ctx.Err() != nil && errors.Is(err, context.Canceled)
	a.printFailure(err, interrupted)
	if interrupted {
		return exitInterrupted
	}
	return exitStatus(err)
}

// exitStatus maps an error to the status of the process.
func exitStatus(err error) int {
	if _, ok := errors.AsType[*usageError](err); ok {
		return exitUsage
	}
	if e, ok := errors.AsType[*messaging.Error](err); ok {
		if e.Code == messaging.CodeInDoubt && e.Is(messaging.ErrNoReply) { // a call that nobody answered
			return exitNoReply
		}
		return exitOfCode(e.Code)
	}
	if _, ok := errors.AsType[*messaging.RemoteError](err); ok {
		return exitRemote
	}
	switch {
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.Is(err, context.DeadlineExceeded):
		return exitNoReply
	default:
		return exitOfCode(messaging.CodeOf(err))
	}
}

func exitOfCode(code messaging.Code) int {
	switch code {
	case messaging.CodeNoReply, messaging.CodeExpired:
		return exitNoReply
	case messaging.CodeUndeliverable:
		return exitUndeliverable
	case messaging.CodeInvalidTarget, messaging.CodeInvalidURL, messaging.CodeVersionCap,
		messaging.CodeConfig, messaging.CodeUnsupported, messaging.CodeEncoding, messaging.CodeTooLarge:
		return exitUsage
	default: // unavailable, refused, in doubt, closed, internal, and what has no code
		return exitUnavailable
	}
}

// failure is an error for programs. Module and class are set for what the remote side raised.
type failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Module  string `json:"module"`
	Class   string `json:"class"`
	Hint    string `json:"hint"`
}

// describe takes an error apart.
func describe(err error, interrupted bool) failure {
	if interrupted {
		return failure{Code: codeInterrupted, Message: "interrupted"}
	}
	if e, ok := errors.AsType[*usageError](err); ok {
		return failure{Code: codeUsage, Message: e.message, Hint: e.hint}
	}
	if e, ok := errors.AsType[*messaging.Error](err); ok {
		c := *e
		c.Hint = ""
		return failure{Code: string(e.Code), Message: c.Error(), Hint: e.Hint}
	}
	if e, ok := errors.AsType[*messaging.RemoteError](err); ok {
		return failure{Code: codeRemote, Message: e.Message, Module: e.Module, Class: e.Class}
	}
	code := messaging.CodeOf(err)
	switch {
	case code != "":
	case errors.Is(err, context.DeadlineExceeded):
		code = messaging.CodeNoReply
	default:
		code = messaging.CodeInternal
	}
	return failure{Code: string(code), Message: err.Error()}
}

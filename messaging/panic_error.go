// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"fmt"
	"reflect"
	"runtime/debug"
)

// panicError is a panic of a handler or of middleware. It is reported under the type of its
// value when that is an error, without the stack: the stack is the server's own.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// Is matches ErrPanic.
func (e *panicError) Is(target error) bool { return target == ErrPanic }

func (e *panicError) remote() *RemoteError {
	r := &RemoteError{Module: "runtime", Class: "Panic", Message: e.Error()}
	if err, ok := e.value.(error); ok && reflect.TypeOf(err) != nil {
		r.Module, r.Class = typeName(err)
	}
	return r
}

// recoverPanic turns a panic into an error; it is deferred.
func recoverPanic(result *any, err *error) {
	if v := recover(); v != nil {
		*result, *err = nil, &panicError{value: v, stack: debug.Stack()}
	}
}

// guarded calls f and turns its panic into an error.
func guarded(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{value: v, stack: debug.Stack()}
		}
	}()
	return f()
}

// recoverPanics is middleware that turns the panics of what it is around into errors.
func recoverPanics(next ServerHandler) ServerHandler {
	return func(ctx context.Context, r *ServerRequest) (result any, err error) {
		defer recoverPanic(&result, &err)
		return next(ctx, r)
	}
}

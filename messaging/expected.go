// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"errors"
	"slices"
)

// Expected marks an error of a handler as nothing to worry about: the server logs it at debug
// level. The caller sees no difference. It is upstream's expected_exceptions
// (oslo_messaging/rpc/server.py). Expected(nil) is nil.
func Expected(err error) error {
	if err == nil {
		return nil
	}
	return &expectedError{err}
}

// IsExpected reports whether err is marked by [Expected], or came from a method registered with
// [ExpectErrors] or [ExpectType] for it: for server middleware.
func IsExpected(err error) bool {
	_, ok := errors.AsType[*expectedError](err)
	return ok
}

type expectedError struct{ err error }

func (e *expectedError) Error() string { return e.err.Error() }
func (e *expectedError) Unwrap() error { return e.err }

// HandlerOption is a setting of one registered method.
type HandlerOption func(*exposed)

// ExpectErrors lists errors of a handler that are nothing to worry about: what matches one of
// them by errors.Is is logged at debug level, as what [Expected] marks is. The caller sees no
// difference. Given twice, both lists count. It is upstream's expected_exceptions
// (oslo_messaging/rpc/server.py); a *[RemoteError] is matched by module and class.
func ExpectErrors(targets ...error) HandlerOption {
	targets = slices.Clone(targets)
	return func(x *exposed) {
		x.expected = append(x.expected, func(err error) bool {
			return slices.ContainsFunc(targets, func(t error) bool { return errors.Is(err, t) })
		})
	}
}

// ExpectType is ExpectErrors for a type of error, matched as errors.As does it:
//
//	list.Handle(ep, fn, messaging.ExpectType[*fs.PathError]())
func ExpectType[E error]() HandlerOption {
	return func(x *exposed) {
		x.expected = append(x.expected, func(err error) bool {
			_, ok := errors.AsType[E](err)
			return ok
		})
	}
}

// mark marks err when it is one of those the method was registered with.
func (x *exposed) mark(err error) error {
	if err == nil || !slices.ContainsFunc(x.expected, func(match func(error) bool) bool { return match(err) }) {
		return err
	}
	return Expected(err)
}

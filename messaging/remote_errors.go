// SPDX-License-Identifier: Apache-2.0

package messaging

import "fmt"

// RemoteErrors decides what a client makes of the failures that servers report: which modules
// it believes, and which classes become Go types of the application. A nil *RemoteErrors
// believes all and has no types. Register everything before the first call that uses it; from
// then on it may be used by any number of goroutines.
type RemoteErrors struct {
	allowed map[string]struct{} // nil for all
	types   map[remoteClass]func(*RemoteError) error
}

// remoteClass names an exception.
type remoteClass struct{ module, class string }

// RemoteErrorsOptions are the settings of [RemoteErrors]. Nil, and every zero field, mean the
// default.
type RemoteErrorsOptions struct {
	// AllowedModules are the modules that failures are believed from, by their whole names; it
	// is upstream's allowed_remote_exmods. Python's builtins and the dispatcher's own failures
	// always are. A failure of another module is a *RemoteError with Disallowed set: it matches
	// no sentinel and becomes no type. Nil allows all, which is safe here as it is not upstream:
	// nothing is ever built from a name that came by the wire.
	AllowedModules []string
}

// NewRemoteErrors returns a RemoteErrors without types.
func NewRemoteErrors(opts *RemoteErrorsOptions) *RemoteErrors {
	r := &RemoteErrors{types: make(map[remoteClass]func(*RemoteError) error)}
	if opts == nil || opts.AllowedModules == nil {
		return r
	}
	r.allowed = map[string]struct{}{builtinsModule: {}, dispatcherModule: {}}
	for _, module := range opts.AllowedModules {
		r.allowed[module] = struct{}{}
	}
	return r
}

// RegisterRemoteError makes failures of a class come as errors of type E, which decode makes of
// what was sent; errors.As finds both E and the *[RemoteError]. A decode that returns false
// leaves it at the latter: the class is right, and what it carries is not. It panics when the
// class is registered already.
//
//	messaging.RegisterRemoteError(errs, "nova.exception", "InstanceNotFound",
//		func(e *messaging.RemoteError) (*NotFound, bool) {
//			id, ok := e.Kwargs["instance_id"].(string)
//			return &NotFound{ID: id}, ok
//		})
func RegisterRemoteError[E error](r *RemoteErrors, module, class string, decode func(*RemoteError) (E, bool)) {
	key := remoteClass{module, class}
	if _, taken := r.types[key]; taken || decode == nil {
		panic(fmt.Sprintf("messaging: RegisterRemoteError of %s.%s with no function, or a second time", module, class))
	}
	r.types[key] = func(e *RemoteError) error {
		typed, ok := decode(e)
		if !ok {
			return e
		}
		return &typedError{typed: typed, remote: e}
	}
}

// decode returns the error for a failure as it came.
func (r *RemoteErrors) decode(raw []byte) error {
	e := decodeFailure(raw)
	if r == nil {
		return e
	}
	if _, ok := r.allowed[e.Module]; r.allowed != nil && !ok {
		e.Disallowed = true
		return e
	}
	if typed, ok := r.types[remoteClass{e.Module, e.Class}]; ok {
		return convert(typed, e)
	}
	return e
}

// convert runs the application's decode; its panic leaves it at the failure as it came.
func convert(typed func(*RemoteError) error, e *RemoteError) (err error) {
	defer func() {
		if recover() != nil {
			err = e
		}
	}()
	return typed(e)
}

// typedError is a failure as the application's type, and as it came.
type typedError struct {
	typed  error
	remote *RemoteError
}

func (e *typedError) Error() string { return e.typed.Error() }

// Unwrap lets errors.Is and errors.As find both.
func (e *typedError) Unwrap() []error { return []error{e.typed, e.remote} }

// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/parleymq/parley/internal/pyjson"
)

// RemoteError is a failure that the far side reported: an exception in Python, or whatever
// error a handler returned. A package-level *RemoteError with Module and Class is a sentinel:
//
//	var ErrNotFound = &messaging.RemoteError{Module: "nova.exception", Class: "InstanceNotFound"}
//
// errors.Is(err, ErrNotFound) is then true in the server that returns it and in the client
// that receives it, because Is compares module and class alone. [RemoteErrors] limits whose
// failures are believed, and turns them into an application's own types.
//
// On the wire it is the object of serialize_remote_exception in upstream's
// oslo_messaging/_drivers/common.py.
type RemoteError struct {
	// Module and Class name the type: a Python module and class, or a Go package path and type.
	Module string
	Class  string
	// Message is the exception's text.
	Message string
	// Args and Kwargs are what a Python peer builds the exception from. When Args is nil the
	// message is sent as the one argument.
	Args   []any
	Kwargs map[string]any
	// Traceback is the far side's, one entry a line; often empty.
	Traceback []string
	// Disallowed says that the module is not among those the client believes; see
	// [RemoteErrorsOptions]. Such an error matches no sentinel.
	Disallowed bool
}

// Error returns module, class and message. The traceback is not part of it.
func (e *RemoteError) Error() string {
	name := e.Class
	if e.Module != "" && e.Module != builtinsModule {
		name = e.Module + "." + e.Class
	}
	switch {
	case name == "":
		return e.Message
	case e.Message == "":
		return name
	default:
		return name + ": " + e.Message
	}
}

// Is reports whether target is a *RemoteError of the same module and class. It is false for a
// failure that is disallowed.
func (e *RemoteError) Is(target error) bool {
	t, ok := target.(*RemoteError)
	return ok && !e.Disallowed && t.Module == e.Module && t.Class == e.Class
}

// Withf returns a copy of e with a formatted message, for returning a sentinel with a text.
func (e *RemoteError) Withf(format string, args ...any) *RemoteError {
	c := *e
	c.Message = fmt.Sprintf(format, args...)
	c.Args = []any{c.Message}
	return &c
}

// Names of Python's modules.
const (
	builtinsModule   = "builtins"
	dispatcherModule = "oslo_messaging.rpc.dispatcher"
)

// The failures of dispatching, under the names upstream gives them, so that peers in either
// language know them.
var (
	// ErrNoSuchMethod: the server has the interface and not the method.
	ErrNoSuchMethod = &RemoteError{Module: dispatcherModule, Class: "NoSuchMethod"}
	// ErrUnsupportedVersion: the server has no endpoint of that namespace and version.
	ErrUnsupportedVersion = &RemoteError{Module: dispatcherModule, Class: "UnsupportedVersion"}
)

func noSuchMethod(method string) *RemoteError {
	return ErrNoSuchMethod.Withf("Endpoint does not support RPC method %s", method)
}

func unsupportedVersion(version, method string) *RemoteError {
	return ErrUnsupportedVersion.Withf("Endpoint does not support RPC version %s. Attempted method: %s", version, method)
}

// typeError is what Python raises for arguments that do not fit.
func typeError(message string) *RemoteError {
	return &RemoteError{Module: builtinsModule, Class: "TypeError", Message: message}
}

// toRemote returns err as the failure to report. A *RemoteError in the tree lends its type;
// any other error is reported under its Go type's name and package.
func toRemote(err error) *RemoteError {
	switch e := err.(type) { //nolint:errorlint // each layer is looked at in turn
	case *expectedError:
		return toRemote(e.err)
	case *panicError:
		return e.remote()
	case *RemoteError:
		return e
	}
	if r, ok := errors.AsType[*RemoteError](err); ok {
		return r.saying(err)
	}
	if p, ok := errors.AsType[*panicError](err); ok {
		return p.remote().saying(err)
	}
	module, class := typeName(err)
	return &RemoteError{Module: module, Class: class, Message: err.Error()}
}

// saying is a copy of e with the text of an error that wraps it.
func (e *RemoteError) saying(err error) *RemoteError {
	c := *e
	c.Message = err.Error()
	return &c
}

// typeName names the type of err, looking through what only adds text (fmt.Errorf with %w) and
// through Expected.
func typeName(err error) (module, class string) {
	t := indirect(reflect.TypeOf(err))
	for t.PkgPath() == "fmt" || t == reflect.TypeFor[expectedError]() {
		inner := errors.Unwrap(err)
		if inner == nil {
			break
		}
		err, t = inner, indirect(reflect.TypeOf(inner))
	}
	if t.Name() == "" {
		return t.PkgPath(), t.String()
	}
	return t.PkgPath(), t.Name()
}

func indirect(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

// remoteSuffix is what a Python client appends to the class and the module of an exception it
// rebuilt; a server that passes it on strips it (_drivers/common.py, _REMOTE_POSTFIX).
const remoteSuffix = "_Remote"

func stripRemote(name string) string {
	for strings.HasSuffix(name, remoteSuffix) {
		name = strings.TrimSuffix(name, remoteSuffix)
	}
	return name
}

// failure encodes e. Message is always a string and tb always a list: a Python client fails on
// anything else.
func (c *codec) failure(e *RemoteError) ([]byte, error) {
	args := e.Args
	if args == nil && e.Message != "" {
		args = []any{e.Message}
	}
	kwargs := e.Kwargs
	if kwargs == nil {
		kwargs = map[string]any{}
	}
	traceback := make([]any, len(e.Traceback))
	for i, line := range e.Traceback {
		traceback[i] = line
	}
	return c.encode(map[string]any{
		"class":   stripRemote(e.Class),
		"module":  stripRemote(e.Module),
		"message": e.Message,
		"tb":      traceback,
		"args":    append([]any{}, args...),
		"kwargs":  kwargs,
	})
}

// maxUnreadable is how much of a failure that is no failure object is shown.
const maxUnreadable = 512

// decodeFailure reads a failure object. It never fails: whatever the far side sent instead is
// still its failure, and becomes the message.
func decodeFailure(raw []byte) *RemoteError {
	v, err := pyjson.Decode(raw)
	if text, ok := v.(string); err == nil && ok {
		// One level of text too many, as the object itself travels as text on some wires.
		if inner, innerErr := pyjson.Decode([]byte(text)); innerErr == nil {
			v = inner
		}
	}
	object, ok := v.(map[string]any)
	if err != nil || !ok {
		return &RemoteError{Message: "unreadable failure: " + truncate(strings.ToValidUTF8(string(raw), "\uFFFD"), maxUnreadable)}
	}
	return failureFrom(object)
}

func failureFrom(object map[string]any) *RemoteError {
	e := &RemoteError{
		Module:    stripRemote(textOf(object["module"])),
		Class:     stripRemote(textOf(object["class"])),
		Message:   textOf(object["message"]),
		Traceback: linesOf(object["tb"]),
	}
	if e.Module == "exceptions" { // Python 2's name of builtins
		e.Module = builtinsModule
	}
	e.Args, _ = object["args"].([]any)
	e.Kwargs, _ = object["kwargs"].(map[string]any)
	return e
}

// textOf returns a string as it is, null as nothing, and any other value as its JSON.
func textOf(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	default:
		text, err := pyjson.Encode(v)
		if err != nil {
			return ""
		}
		return string(text)
	}
}

// linesOf returns the lines of a traceback: a list, or one text.
func linesOf(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		lines := make([]string, 0, len(v))
		for _, line := range v {
			lines = append(lines, textOf(line))
		}
		return lines
	default:
		return nil
	}
}

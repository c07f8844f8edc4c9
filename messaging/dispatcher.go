// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"runtime/debug"
	"strings"
)

// dispatcher finds the method of a request among endpoints and runs it. It is upstream's
// oslo_messaging/rpc/dispatcher.py, RPCDispatcher.
type dispatcher struct {
	endpoints []*Endpoint
	logger    *slog.Logger
}

// find returns the handler: the first endpoint, in order, that accepts namespace and version
// and has the method wins. What is not found is UnsupportedVersion when no endpoint accepts
// the namespace and version, NoSuchMethod otherwise.
func (d *dispatcher) find(r request) (handler, error) {
	text := r.version
	if text == "" {
		text = defaultVersion
	}
	v, err := parseVersion(text)
	if err != nil {
		return nil, unsupportedVersion(text, r.method)
	}
	compatible := false
	for _, e := range d.endpoints {
		if !e.accepts(r.namespace, v) {
			continue
		}
		compatible = true
		if h := e.find(r.method); h != nil {
			return h, nil
		}
	}
	if compatible {
		return nil, noSuchMethod(r.method)
	}
	return nil, unsupportedVersion(text, r.method)
}

// run runs a handler and turns a panic into an error.
func (d *dispatcher) run(ctx context.Context, h handler, args []byte) (result any, err error) {
	defer func() {
		if v := recover(); v != nil {
			result, err = nil, &panicError{value: v, stack: debug.Stack()}
		}
	}()
	return h(ctx, args)
}

// panicError is a handler's panic. It is reported under the type of its value when that is an
// error, without the stack: the stack is the server's own.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

func (e *panicError) remote() *RemoteError {
	r := &RemoteError{Module: "runtime", Class: "Panic", Message: e.Error()}
	if err, ok := e.value.(error); ok && reflect.TypeOf(err) != nil {
		r.Module, r.Class = typeName(err)
	}
	return r
}

// log records how a request ended badly, as loudly as it deserves.
func (d *dispatcher) log(ctx context.Context, r request, call bool, err error) {
	attrs := []slog.Attr{slog.String("method", r.method), slog.Bool("call", call), slog.Any("error", err)}
	level, text := slog.LevelError, "handler failed"
	if p, ok := err.(*panicError); ok { //nolint:errorlint // only what we made ourselves, unwrapped, is a panic
		d.logger.LogAttrs(ctx, level, "handler panicked", append(attrs, slog.String("stack", string(p.stack)))...)
		return
	}
	switch {
	case isExpected(err):
		level = slog.LevelDebug
	case call:
		level = slog.LevelWarn // the caller is told
	}
	d.logger.LogAttrs(ctx, level, text, attrs...)
}

// ignoreSuffix ends the names of methods that clients try without knowing whether they exist
// (oslo_messaging/rpc/server.py).
const ignoreSuffix = "_ignore_errors"

// logNotFound records a request that no method was found for. Unknown and private look the
// same to the caller and differ here.
func (d *dispatcher) logNotFound(ctx context.Context, r request, err error) {
	level := slog.LevelWarn
	if strings.HasSuffix(r.method, ignoreSuffix) {
		level = slog.LevelDebug
	}
	d.logger.LogAttrs(ctx, level, "request refused",
		slog.String("method", truncate(r.method, maxShownMethod)), slog.String("namespace", truncate(r.namespace, maxShownMethod)),
		slog.String("version", truncate(r.version, maxShownMethod)),
		slog.Bool("private", strings.HasPrefix(r.method, "_")), slog.Any("error", err))
}

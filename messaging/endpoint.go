// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/parleymq/parley/internal/pyjson"
)

// EndpointOptions are the settings of an [Endpoint]. Nil, and every zero field, mean the
// default.
type EndpointOptions struct {
	// Namespace is the interface's namespace. Default: the null namespace.
	Namespace string
	// Version is the interface's version: requests of the same major and of no newer version
	// are served. Default: 1.0.
	Version string
	// LegacyNamespaces are further namespaces served, for clients of older names. The null
	// namespace is written "".
	LegacyNamespaces []string
}

// Endpoint is a set of methods under one namespace and version. What is registered with it is
// exposed, and nothing else. Register everything before the server serves; registering and
// serving at the same time is safe, but which requests see the method is then left open.
type Endpoint struct {
	namespaces []string
	version    version

	mu       sync.RWMutex // guards the rest
	handlers map[string]handler
	fallback func(ctx context.Context, method string, args json.RawMessage) (any, error)
}

// handler runs a method on its arguments, a JSON object, and returns what is to be encoded.
type handler func(ctx context.Context, args []byte) (any, error)

// NewEndpoint returns an endpoint without methods. It panics when the version or a namespace
// cannot be one, which is a mistake in the program.
func NewEndpoint(opts *EndpointOptions) *Endpoint {
	var o EndpointOptions
	if opts != nil {
		o = *opts
	}
	if o.Version == "" {
		o.Version = defaultVersion
	}
	for _, ns := range append([]string{o.Namespace}, o.LegacyNamespaces...) {
		if err := (Target{Namespace: ns, Version: o.Version}).validate(roleEndpoint); err != nil {
			panic(err)
		}
	}
	v, err := parseVersion(o.Version)
	if err != nil {
		panic(err) // validate has checked it
	}
	return &Endpoint{
		namespaces: append([]string{o.Namespace}, o.LegacyNamespaces...),
		version:    v,
		handlers:   make(map[string]handler),
	}
}

// HandleFunc registers a method whose arguments are a map of JSON values, with integers as
// int64 or *big.Int. Any name of argument is accepted. It panics where TryHandleFunc fails.
func (e *Endpoint) HandleFunc(name string, fn func(ctx context.Context, args map[string]any) (any, error)) {
	must(e.TryHandleFunc(name, fn))
}

// TryHandleFunc is HandleFunc for names that are not known to be good: it fails with ErrConfig
// when the name is empty, is not UTF-8, begins with an underscore, or is taken.
func (e *Endpoint) TryHandleFunc(name string, fn func(ctx context.Context, args map[string]any) (any, error)) error {
	return e.register(name, fn == nil, func(ctx context.Context, raw []byte) (any, error) {
		v, err := pyjson.Decode(raw)
		if err != nil {
			return nil, argumentError(name, err)
		}
		args, ok := v.(map[string]any)
		if !ok {
			return nil, argumentError(name, errNotObject)
		}
		return fn(ctx, args)
	})
}

// HandleRaw registers a method that takes its arguments as they came: a JSON object in the
// dialect of Python. A json.RawMessage as result is sent as it is. It panics where
// TryHandleFunc fails.
func (e *Endpoint) HandleRaw(name string, fn func(ctx context.Context, args json.RawMessage) (any, error)) {
	must(e.register(name, fn == nil, func(ctx context.Context, raw []byte) (any, error) {
		return fn(ctx, raw)
	}))
}

// HandleOthers registers a handler for every method that has none of its own, except names
// that begin with an underscore. It is for proxies and tools. It panics when there is one.
func (e *Endpoint) HandleOthers(fn func(ctx context.Context, method string, args json.RawMessage) (any, error)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if fn == nil || e.fallback != nil {
		panic("messaging: HandleOthers with no function, or a second time")
	}
	e.fallback = fn
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func (e *Endpoint) register(name string, isNil bool, h handler) error {
	if err := methodProblem(name); err != nil {
		return registrationError(name, err)
	}
	if isNil {
		return registrationError(name, errors.New("the handler is nil"))
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, taken := e.handlers[name]; taken {
		return registrationError(name, errors.New("the endpoint has this method already"))
	}
	e.handlers[name] = h
	return nil
}

func registrationError(name string, err error) error {
	return operation{verb: "register method", method: name}.errorf(CodeConfig, err, "%v", err)
}

// methodProblem tells what is wrong with the name of a method to expose.
func methodProblem(name string) error {
	if name == "" {
		return errors.New("the method has no name")
	}
	if strings.HasPrefix(name, "_") {
		return errors.New("names that begin with an underscore are private")
	}
	if problem, _ := textProblem(name); problem != "" {
		return fmt.Errorf("the name %s", problem)
	}
	return nil
}

// registerTyped registers a function of known types: type-erased once, here.
func registerTyped[A, R any](e *Endpoint, name, since string, fn func(context.Context, A) (R, error)) error {
	if since != "" {
		s, err := parseVersion(since)
		if err != nil {
			return registrationError(name, fmt.Errorf("its Since %q is not a version: %w", since, err))
		}
		if !e.version.serves(s) {
			return registrationError(name, fmt.Errorf("it is since %s, which the endpoint's version %d.%d does not include",
				since, e.version.major, e.version.minor))
		}
	}
	names := argumentNames(reflect.TypeFor[A]())
	return e.register(name, fn == nil, func(ctx context.Context, raw []byte) (any, error) {
		if err := checkArguments(name, raw, names); err != nil {
			return nil, err
		}
		var args A
		if err := decodeInto(raw, &args); err != nil {
			return nil, argumentError(name, err)
		}
		return fn(ctx, args)
	})
}

// accepts reports whether the endpoint serves a namespace and version.
func (e *Endpoint) accepts(namespace string, v version) bool {
	return slices.Contains(e.namespaces, namespace) && e.version.serves(v)
}

// find returns the handler of a method; nil when there is none.
func (e *Endpoint) find(method string) handler {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if h, ok := e.handlers[method]; ok {
		return h
	}
	if e.fallback == nil || strings.HasPrefix(method, "_") {
		return nil
	}
	fallback := e.fallback
	return func(ctx context.Context, args []byte) (any, error) { return fallback(ctx, method, args) }
}

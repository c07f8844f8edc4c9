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

// Endpoint is a set of methods under one namespace and version. What is registered with it, by
// [Method.Handle], HandleFunc, HandleRaw, Expose or HandleOthers, is exposed, and nothing else; a
// name that begins with an underscore never is. An Endpoint may belong to any number of servers.
// Register everything before the server serves; registering and serving at the same time is safe,
// but which requests see the method is then left open.
type Endpoint struct {
	namespaces []string
	version    version

	mu       sync.RWMutex // guards the rest
	handlers map[string]*exposed
	fallback *exposed // for all other names; nil for none
}

// exposed is a registered method. It does not change any more.
type exposed struct {
	name string
	// run runs the method on the arguments of a request and returns what is to be encoded.
	run      ServerHandler
	expected []func(error) bool
}

func newExposed(name string, run ServerHandler, opts []HandlerOption) *exposed {
	x := &exposed{name: name, run: run}
	for _, opt := range opts {
		opt(x)
	}
	return x
}

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
		handlers:   make(map[string]*exposed),
	}
}

// HandleFunc registers a method whose arguments are a map of JSON values, with integers as
// int64 or *big.Int, or what the server's [Serializer] makes of them. Any name of argument is
// accepted. It panics where TryHandleFunc fails.
func (e *Endpoint) HandleFunc(name string, fn func(ctx context.Context, args map[string]any) (any, error), opts ...HandlerOption) {
	must(e.TryHandleFunc(name, fn, opts...))
}

// TryHandleFunc is HandleFunc for names that are not known to be good: it fails with ErrConfig
// when the name is empty, is not UTF-8, begins with an underscore, or is taken.
func (e *Endpoint) TryHandleFunc(name string, fn func(ctx context.Context, args map[string]any) (any, error), opts ...HandlerOption) error {
	return e.register(name, fn == nil, opts, func(ctx context.Context, r *ServerRequest) (any, error) {
		var args map[string]any
		if err := r.decodeArgs(ctx, nil, &args); err != nil {
			return nil, err
		}
		return fn(ctx, args)
	})
}

// HandleRaw registers a method that takes its arguments as they came: a JSON object in the
// dialect of Python, whatever the server's [Serializer]. A json.RawMessage as result is sent as
// it is by a server without one of its own. It panics where TryHandleFunc fails.
func (e *Endpoint) HandleRaw(name string, fn func(ctx context.Context, args json.RawMessage) (any, error), opts ...HandlerOption) {
	must(e.register(name, fn == nil, opts, func(ctx context.Context, r *ServerRequest) (any, error) {
		return fn(ctx, r.Args)
	}))
}

// HandleOthers registers a handler for every method that has none of its own, except names
// that begin with an underscore. It is for proxies and tools. It panics when there is one.
func (e *Endpoint) HandleOthers(fn func(ctx context.Context, method string, args json.RawMessage) (any, error), opts ...HandlerOption) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if fn == nil || e.fallback != nil {
		panic("messaging: HandleOthers with no function, or a second time")
	}
	e.fallback = newExposed("", func(ctx context.Context, r *ServerRequest) (any, error) {
		return fn(ctx, r.Method, r.Args)
	}, opts)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func (e *Endpoint) register(name string, isNil bool, opts []HandlerOption, run ServerHandler) error {
	if err := methodProblem(name); err != nil {
		return registrationError(name, err)
	}
	if isNil {
		return registrationError(name, errors.New("the handler is nil"))
	}
	return e.registerAll(newExposed(name, run, opts))
}

// registerAll registers all of the methods, or none when the name of one is taken.
func (e *Endpoint) registerAll(all ...*exposed) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, x := range all {
		if _, taken := e.handlers[x.name]; taken {
			return registrationError(x.name, errors.New("the endpoint has this method already"))
		}
	}
	for _, x := range all {
		e.handlers[x.name] = x
	}
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
func registerTyped[A, R any](e *Endpoint, name, since string, fn func(context.Context, A) (R, error), opts []HandlerOption) error {
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
	return e.register(name, fn == nil, opts, func(ctx context.Context, r *ServerRequest) (any, error) {
		var args A
		if err := r.decodeArgs(ctx, names, &args); err != nil {
			return nil, err
		}
		return fn(ctx, args)
	})
}

// accepts reports whether the endpoint serves a namespace and version.
func (e *Endpoint) accepts(namespace string, v version) bool {
	return slices.Contains(e.namespaces, namespace) && e.version.serves(v)
}

// find returns a method; nil when there is none.
func (e *Endpoint) find(method string) *exposed {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if x, ok := e.handlers[method]; ok {
		return x
	}
	if strings.HasPrefix(method, "_") {
		return nil
	}
	return e.fallback
}

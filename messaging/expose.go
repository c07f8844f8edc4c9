// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
)

// Expose registers methods of a Go value: methods maps the name on the wire to the name of the
// Go method. What is not listed is not exposed. A method has one of the forms
//
//	func(ctx context.Context) error
//	func(ctx context.Context) (R, error)
//	func(ctx context.Context, args A) error
//	func(ctx context.Context, args A) (R, error)
//
// where A and R are as in [Method], and behaves as [Method.Handle] describes; without A it takes
// no arguments, without a result it answers null. Expose panics where TryExpose fails: it is a
// mistake in the program.
func (e *Endpoint) Expose(receiver any, methods map[string]string, opts ...HandlerOption) {
	must(e.TryExpose(receiver, methods, opts...))
}

// TryExpose is Expose with an error: ErrConfig when a method does not exist, is not exported or
// has another form, or when a name on the wire is one that TryHandleFunc refuses. It then
// registers nothing.
func (e *Endpoint) TryExpose(receiver any, methods map[string]string, opts ...HandlerOption) error {
	v := reflect.ValueOf(receiver)
	all := make([]*exposed, 0, len(methods))
	for _, name := range slices.Sorted(maps.Keys(methods)) {
		err := methodProblem(name)
		var run ServerHandler
		if err == nil {
			run, err = reflected(v, methods[name])
		}
		if err != nil {
			return registrationError(name, err)
		}
		all = append(all, newExposed(name, run, opts))
	}
	return e.registerAll(all...)
}

var (
	contextType = reflect.TypeFor[context.Context]()
	errorType   = reflect.TypeFor[error]()
)

// reflected makes a handler of a Go method.
func reflected(receiver reflect.Value, name string) (ServerHandler, error) {
	if !receiver.IsValid() {
		return nil, errors.New("the receiver is nil")
	}
	m := receiver.MethodByName(name)
	if !m.IsValid() { // reflect does not tell unexported from missing
		return nil, fmt.Errorf("%s has no exported method %s", receiver.Type(), name)
	}
	t := m.Type()
	if !isExposable(t) {
		return nil, fmt.Errorf("%s.%s is a %s: want func(context.Context[, A]) ([R, ]error)", receiver.Type(), name, t)
	}
	argType := reflect.TypeFor[struct{}]()
	if t.NumIn() == 2 {
		argType = t.In(1)
	}
	names := argumentNames(argType)
	return func(ctx context.Context, r *ServerRequest) (any, error) {
		args := reflect.New(argType)
		if err := r.decodeArgs(ctx, names, args.Interface()); err != nil {
			return nil, err
		}
		in := []reflect.Value{reflect.ValueOf(&ctx).Elem(), args.Elem()}
		return results(m.Call(in[:t.NumIn()]))
	}, nil
}

// isExposable reports whether a method has one of the forms.
func isExposable(t reflect.Type) bool {
	in, out := t.NumIn(), t.NumOut()
	if t.IsVariadic() || in < 1 || in > 2 || out < 1 || out > 2 {
		return false
	}
	return t.In(0) == contextType && t.Out(out-1) == errorType && (in == 1 || isDecodable(t.In(1)))
}

// isDecodable refuses arguments that nothing can be decoded into.
func isDecodable(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Chan, reflect.Func, reflect.UnsafePointer:
		return false
	case reflect.Interface:
		return t.NumMethod() == 0
	default:
		return true
	}
}

// results turns what a Go method returned into a handler's results.
func results(out []reflect.Value) (any, error) {
	err, _ := out[len(out)-1].Interface().(error)
	if len(out) == 1 || err != nil {
		return nil, err
	}
	return out[0].Interface(), nil
}

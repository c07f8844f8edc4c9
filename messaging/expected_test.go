// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

// Middleware sees what a failure is: a panic, an error nobody need worry about, or a plain one.
func TestMiddlewareSeesWhatAFailureIs(t *testing.T) {
	sentinel := errors.New("gone")
	for _, tt := range []struct {
		name            string
		fail            func() error
		expected, panic bool
		code            Code
		class           string // as the caller sees it
	}{
		{"plain", func() error { return errors.New("x") }, false, false, "", "errorString"},
		{"marked", func() error { return Expected(errors.New("x")) }, true, false, "", "errorString"},
		{"marked below", func() error { return fmt.Errorf("more: %w", Expected(errors.New("x"))) }, true, false, "", "errorString"},
		{"declared", func() error { return fmt.Errorf("more: %w", sentinel) }, true, false, "", "errorString"},
		{"declared type", func() error { return ErrNoSuchMethod.Withf("y") }, true, false, "", "NoSuchMethod"},
		{"panic", func() error { panic("on purpose") }, false, true, CodePanic, "Panic"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var seen error
			watch := func(next ServerHandler) ServerHandler {
				return func(ctx context.Context, r *ServerRequest) (any, error) {
					result, err := next(ctx, r)
					seen = err
					if err != nil {
						err = fmt.Errorf("seen: %w", err)
					}
					return result, err
				}
			}
			r := newRig(t, nil)
			ep := NewEndpoint(nil)
			ep.HandleFunc("m", func(context.Context, map[string]any) (any, error) { return nil, tt.fail() },
				ExpectErrors(sentinel), ExpectType[*RemoteError]())
			serve(t, r.Transport, computeTarget, &RPCServerOptions{Middleware: []ServerMiddleware{watch}}, ep)
			err := NewRPCClient(r.Transport, Target{Topic: "compute"}, nil).Call(t.Context(), "m", nil, nil)
			if IsExpected(seen) != tt.expected || errors.Is(seen, ErrPanic) != tt.panic || CodeOf(seen) != tt.code {
				t.Errorf("middleware saw %T %v, code %q", seen, seen, CodeOf(seen))
			}
			if remote, ok := errors.AsType[*RemoteError](err); !ok || remote.Class != tt.class {
				t.Errorf("the caller got %#v", err)
			}
		})
	}
}

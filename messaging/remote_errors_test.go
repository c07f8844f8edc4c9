// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

// notFoundError is an application's own type for a failure.
type notFoundError struct{ ID string }

func (e *notFoundError) Error() string { return "no instance " + e.ID }

var errInstance = &RemoteError{Module: "nova.exception", Class: "InstanceNotFound"}

func novaErrors(opts *RemoteErrorsOptions) *RemoteErrors {
	r := NewRemoteErrors(opts)
	RegisterRemoteError(r, "nova.exception", "InstanceNotFound", func(e *RemoteError) (*notFoundError, bool) {
		id, ok := e.Kwargs["instance_id"].(string)
		return &notFoundError{ID: id}, ok
	})
	RegisterRemoteError(r, "nova.exception", "Broken", func(e *RemoteError) (*notFoundError, bool) {
		return &notFoundError{ID: e.Kwargs["instance_id"].(string)}, true // panics without
	})
	return r
}

func TestRemoteErrors(t *testing.T) {
	nova := func(class string, kwargs map[string]any) *RemoteError {
		return &RemoteError{Module: "nova.exception", Class: class, Message: "gone", Kwargs: kwargs}
	}
	id := map[string]any{"instance_id": "i-1"}
	for _, tt := range []struct {
		name             string
		errs             *RemoteErrors
		sent             error
		typed, is, allow bool
	}{
		{"nil believes all", nil, nova("InstanceNotFound", id), false, true, true},
		{"no types", NewRemoteErrors(nil), nova("InstanceNotFound", id), false, true, true},
		{"a type", novaErrors(nil), nova("InstanceNotFound", id), true, true, true},
		{"a type that does not fit", novaErrors(nil), nova("InstanceNotFound", nil), false, true, true},
		{"a type that panics", novaErrors(nil), nova("Broken", nil), false, false, true},
		{"another class", novaErrors(nil), nova("Other", id), false, false, true},
		{"module allowed", novaErrors(&RemoteErrorsOptions{AllowedModules: []string{"nova.exception"}}), nova("InstanceNotFound", id), true, true, true},
		{"module not allowed", novaErrors(&RemoteErrorsOptions{AllowedModules: []string{"nova"}}), nova("InstanceNotFound", id), false, false, false},
		{"none allowed", NewRemoteErrors(&RemoteErrorsOptions{AllowedModules: []string{}}), nova("InstanceNotFound", id), false, false, false},
		{"builtins always are", NewRemoteErrors(&RemoteErrorsOptions{AllowedModules: []string{}}), &RemoteError{Module: "builtins", Class: "ValueError"}, false, false, true},
		{"Python 2's too", NewRemoteErrors(&RemoteErrorsOptions{AllowedModules: []string{}}), &RemoteError{Module: "exceptions", Class: "ValueError"}, false, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, nil)
			ep := NewEndpoint(nil)
			ep.HandleFunc("fail", func(context.Context, map[string]any) (any, error) { return nil, tt.sent })
			serve(t, r.Transport, computeTarget, nil, ep)
			c := NewRPCClient(r.Transport, Target{Topic: "compute"}, &RPCClientOptions{Errors: tt.errs})
			err := c.Call(t.Context(), "fail", nil, nil)
			remote, ok := errors.AsType[*RemoteError](err)
			if !ok || remote.Disallowed == tt.allow {
				t.Fatalf("%#v", err)
			}
			typed, isTyped := errors.AsType[*notFoundError](err)
			if isTyped != tt.typed || tt.typed && (typed.ID != "i-1" || err.Error() != "no instance i-1") {
				t.Errorf("typed: %#v, %v", typed, err)
			}
			if errors.Is(err, errInstance) != tt.is {
				t.Errorf("is the sentinel: %t", !tt.is)
			}
		})
	}
}

// What no endpoint has is known under every list.
func TestDispatchFailuresAreAlwaysAllowed(t *testing.T) {
	r := newRig(t, &Options{RemoteErrors: NewRemoteErrors(&RemoteErrorsOptions{AllowedModules: []string{}})})
	serve(t, r.Transport, computeTarget, nil, echoEndpoint())
	c := NewRPCClient(r.Transport, Target{Topic: "compute"}, nil)
	if err := c.Call(t.Context(), "none", nil, nil); !errors.Is(err, ErrNoSuchMethod) {
		t.Errorf("%v", err)
	}
	if err := c.With(Version("9.0")).Call(t.Context(), "echo", nil, nil); !errors.Is(err, ErrUnsupportedVersion) {
		t.Errorf("%v", err)
	}
}

func TestRegisterRemoteErrorTwice(t *testing.T) {
	defer func() {
		if v := fmt.Sprint(recover()); v != "messaging: RegisterRemoteError of nova.exception.InstanceNotFound with no function, or a second time" {
			t.Error(v)
		}
	}()
	RegisterRemoteError(novaErrors(nil), "nova.exception", "InstanceNotFound",
		func(*RemoteError) (*notFoundError, bool) { return nil, false })
}

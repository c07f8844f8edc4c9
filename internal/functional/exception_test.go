// SPDX-License-Identifier: Apache-2.0

package functional

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"testing"

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/messaging/messagingtest"
	"github.com/parleymq/parley/plugin/driver"
)

// The cases of oslo_messaging/tests/test_exception_serialization.py. Nothing is ever built from a
// name that came by the wire: a class becomes a Go type only where the application registered it.

const trusted = "oslo_messaging.tests.test_exception_serialization"

// TestSerializeRemoteException: upstream's four kinds of exception, each as it is raised and as
// it was received from another server, with the suffix of upstream's clients.
func TestSerializeRemoteException(t *testing.T) {
	for _, tc := range []struct {
		name, module, class, message string
		kwargs                       map[string]any
	}{
		{"bog_standard", "builtins", "Exception", "test", nil},
		{"nova_style", trusted, "NovaStyleException", "I am Nova", nil},
		{"nova_style_with_msg", trusted, "NovaStyleException", "testing", nil},
		{"kwargs_style", trusted, "KwargsStyleException", "I am Oslo", map[string]any{"who": "Oslo"}},
	} {
		for _, suffix := range []string{"", "_Remote"} {
			t.Run(tc.name+suffix, func(t *testing.T) {
				broker := messagingtest.NewBroker()
				tr := broker.Transport(t, quiet())
				ep := messaging.NewEndpoint(nil)
				ep.HandleFunc("raise", func(context.Context, map[string]any) (any, error) {
					return nil, &messaging.RemoteError{Module: tc.module + suffix, Class: tc.class + suffix, Message: tc.message, Kwargs: tc.kwargs}
				})
				serve(t, tr, messaging.Target{Topic: "t", Server: "s"}, nil, ep)
				if err := client(tr, messaging.Target{Topic: "t"}).Call(soon(t), "raise", nil, nil); err == nil {
					t.Fatal("no error")
				}
				var got map[string]any
				if err := json.Unmarshal(broker.Expect(t, messagingtest.Match{Kind: driver.Reply}).Failure, &got); err != nil {
					t.Fatal(err)
				}
				kwargs := tc.kwargs
				if kwargs == nil {
					kwargs = map[string]any{}
				}
				want := map[string]any{"module": tc.module, "class": tc.class, "message": tc.message, "args": []any{tc.message}, "kwargs": kwargs, "tb": []any{}}
				if !reflect.DeepEqual(got, want) {
					t.Errorf("sent %v\nwant %v", got, want)
				}
			})
		}
	}
}

// novaError is an application's own type.
type novaError struct{ who string }

func (e *novaError) Error() string { return "it is " + e.who }

// TestDeserializeRemoteException: upstream's ten cases by their names, answered by a raw peer.
func TestDeserializeRemoteException(t *testing.T) {
	w := worldWith(t, testbed.NeedAMQP)
	s := newOddServer(t, w)
	tr := w.open(t, messaging.Options{})
	for _, tc := range []struct {
		name          string
		allowed       []string
		module, class string
		kwargs        string
		wantModule    string
		disallowed    bool
		typed         bool
	}{
		{"bog_standard", []string{trusted}, "builtins", "Exception", `{}`, "builtins", false, false},
		{"different_python_versions", []string{trusted}, "exceptions", "Exception", `{}`, "builtins", false, false},
		{"nova_style", []string{trusted}, trusted, "NovaStyleException", `{}`, trusted, false, false},
		{"nova_style_with_msg", []string{trusted}, trusted, "NovaStyleException", `{}`, trusted, false, false},
		{"kwargs_style", []string{trusted}, trusted, "KwargsStyleException", `{"who": "Oslo"}`, trusted, false, true},
		{"not_allowed", []string{}, trusted, "NovaStyleException", `{}`, trusted, true, false},
		{"unknown_module", []string{"notexist"}, "notexist", "Exception", `{}`, "notexist", false, false},
		{"unknown_exception", []string{}, "builtins", "FarcicalError", `{}`, "builtins", false, false},
		{"unknown_kwarg", []string{}, "builtins", "Exception", `{"foobar": "blaa"}`, "builtins", false, false},
		{"system_exit", []string{}, "builtins", "SystemExit", `{}`, "builtins", false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			errs := messaging.NewRemoteErrors(&messaging.RemoteErrorsOptions{AllowedModules: tc.allowed})
			messaging.RegisterRemoteError(errs, trusted, "KwargsStyleException", func(e *messaging.RemoteError) (*novaError, bool) {
				who, ok := e.Kwargs["who"].(string)
				return &novaError{who}, ok
			})
			c := messaging.NewRPCClient(tr, messaging.Target{Topic: "odd"}, &messaging.RPCClientOptions{Timeout: patience, Errors: errs})
			_, err := s.call(t, c, failed(`{"class": "`+tc.class+`", "module": "`+tc.module+`", "message": "test", "tb": ["traceback\ntraceback\n"], "args": [], "kwargs": `+tc.kwargs+`}`))
			remote, ok := errors.AsType[*messaging.RemoteError](err)
			if !ok || remote.Module != tc.wantModule || remote.Class != tc.class || remote.Message != "test" || remote.Disallowed != tc.disallowed || len(remote.Traceback) != 1 {
				t.Fatalf("got %#v (%v)", remote, err)
			}
			if matches := errors.Is(err, &messaging.RemoteError{Module: tc.wantModule, Class: tc.class}); matches == tc.disallowed {
				t.Errorf("it matches its sentinel: %t", matches)
			}
			typed, ok := errors.AsType[*novaError](err)
			if ok != tc.typed || ok && typed.who != "Oslo" {
				t.Errorf("as the application's type: %v", typed)
			}
		})
	}
}

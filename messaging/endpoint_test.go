// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestEndpointSelection(t *testing.T) {
	answer := func(s string) func(context.Context, map[string]any) (any, error) {
		return func(context.Context, map[string]any) (any, error) { return s, nil }
	}
	v1 := NewEndpoint(&EndpointOptions{Version: "1.2", LegacyNamespaces: []string{"old"}})
	v1.HandleFunc("both", answer("v1"))
	v2 := NewEndpoint(&EndpointOptions{Version: "2.0"})
	v2.HandleFunc("both", answer("v2"))
	second := NewEndpoint(&EndpointOptions{Version: "1.5"})
	second.HandleFunc("both", answer("second"))
	second.HandleFunc("only", answer("second"))
	named := NewEndpoint(&EndpointOptions{Namespace: "named", LegacyNamespaces: []string{""}})
	named.HandleFunc("named", answer("named"))
	named.HandleOthers(func(_ context.Context, method string, args json.RawMessage) (any, error) {
		return method + string(args), nil
	})
	d := dispatcher{endpoints: []*Endpoint{v1, v2, second, named}}
	tests := []struct {
		r    request
		want string
	}{
		{request{method: "both"}, "v1"},
		{request{method: "both", version: "1.2"}, "v1"},
		{request{method: "both", version: "1.3"}, "second"},
		{request{method: "both", version: "2.0"}, "v2"},
		{request{method: "only", version: "1.0"}, "second"},
		{request{method: "both", namespace: "old"}, "v1"},
		{request{method: "named", namespace: "named"}, "named"},
		{request{method: "named"}, "named"},
		{request{method: "other", args: []byte("{}")}, "other{}"},
		{request{method: "_other"}, "!NoSuchMethod"},
		{request{method: "only", version: "2.0"}, "!NoSuchMethod"},
		{request{method: "both", version: "1.6"}, "!UnsupportedVersion"},
		{request{method: "both", version: "3.0"}, "!UnsupportedVersion"},
		{request{method: "both", version: "x"}, "!UnsupportedVersion"},
		{request{method: "both", namespace: "other"}, "!UnsupportedVersion"},
	}
	for _, tt := range tests {
		x, err := d.find(tt.r.method, tt.r.namespace, tt.r.version)
		if err != nil {
			if got := "!" + err.(*RemoteError).Class; got != tt.want {
				t.Errorf("%+v: %s, want %s", tt.r, got, tt.want)
			}
			continue
		}
		if len(tt.r.args) == 0 {
			tt.r.args = []byte("{}")
		}
		req := &ServerRequest{RequestInfo: RequestInfo{Method: tt.r.method}, Args: tt.r.args, d: &dispatch{exposed: x}}
		if got, err := runMethod(t.Context(), req); err != nil || got != tt.want {
			t.Errorf("%+v: %v %v, want %s", tt.r, got, err, tt.want)
		}
	}
	if x, err := (&dispatcher{}).find("m", "", ""); x != nil || !errors.Is(err, ErrUnsupportedVersion) {
		t.Errorf("no endpoints: %v", err)
	}
}

func TestRegistration(t *testing.T) {
	fn := func(context.Context, map[string]any) (any, error) { return nil, nil }
	typed := func(context.Context, startArgs) (startReply, error) { return startReply{}, nil }
	ep := NewEndpoint(&EndpointOptions{Version: "1.3"})
	ep.HandleFunc("taken", fn)
	bad := map[string]func() error{
		"no name":         func() error { return ep.TryHandleFunc("", fn) },
		"underscore":      func() error { return ep.TryHandleFunc("_private", fn) },
		"control":         func() error { return ep.TryHandleFunc("a\nb", fn) },
		"UTF-8":           func() error { return ep.TryHandleFunc("a\xffb", fn) },
		"already":         func() error { return ep.TryHandleFunc("taken", fn) },
		"is nil":          func() error { return ep.TryHandleFunc("nil", nil) },
		"does not inc":    func() error { return Method[startArgs, startReply]{Name: "a", Since: "1.4"}.TryHandle(ep, typed) },
		"since 2.0":       func() error { return Method[startArgs, startReply]{Name: "a", Since: "2.0"}.TryHandle(ep, typed) },
		"not a version":   func() error { return Method[startArgs, startReply]{Name: "a", Since: "x"}.TryHandle(ep, typed) },
		"handler is nil":  func() error { return Method[startArgs, startReply]{Name: "a"}.TryHandle(ep, nil) },
		"has this method": func() error { return Method[startArgs, startReply]{Name: "taken"}.TryHandle(ep, typed) },
	}
	for want, register := range bad {
		if err := register(); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	panics := map[string]func(){
		"HandleFunc":   func() { ep.HandleFunc("_x", fn) },
		"Handle":       func() { start.Handle(NewEndpoint(nil), nil) },
		"HandleRaw":    func() { ep.HandleRaw("taken", nil) },
		"HandleOthers": func() { ep.HandleOthers(nil) },
		"version":      func() { NewEndpoint(&EndpointOptions{Version: "x"}) },
		"namespace":    func() { NewEndpoint(&EndpointOptions{Namespace: "a\x00"}) },
	}
	for name, f := range panics {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s did not panic", name)
				}
			}()
			f()
		}()
	}
}

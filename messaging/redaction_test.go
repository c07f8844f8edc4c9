// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// secretive is a request context as upstream's have it, with planted secrets.
func secretive() RequestContext {
	return RequestContext{
		"auth_token": "PLANTED", "service_token": "PLANTED", "service_catalog": []any{"PLANTED"}, "trust_id": "PLANTED",
		"password": "PLANTED", "auth_plugin": map[string]any{"token": "PLANTED"}, "user_identity": "PLANTED", "x": "PLANTED",
		"request_id": "req-1", "project_id": "p", "roles": []any{"admin"}, "is_admin": true,
	}
}

// contextSerializer makes its own request context.
type contextSerializer struct {
	JSON
	err error
}

func (c contextSerializer) MarshalContext(context.Context) (RequestContext, error) {
	return secretive(), c.err
}

func TestSecretsDoNotTravel(t *testing.T) {
	odd := errors.New("odd")
	for _, tc := range []struct {
		name       string
		filter     ContextFilter
		serializer Serializer
		want       string // of the context on the wire
		err        string
	}{
		{name: "default", want: `{"is_admin": true, "project_id": "p", "request_id": "req-1", "roles": ["admin"]}`},
		{name: "extra", filter: SafeContext("x"), want: `{"is_admin": true, "project_id": "p", "request_id": "req-1", "roles": ["admin"], "x": "PLANTED"}`},
		{name: "none", filter: NoContext(), want: ""},
		{name: "serializer", serializer: contextSerializer{}, want: `{"is_admin": true, "project_id": "p", "request_id": "req-1", "roles": ["admin"]}`},
		{name: "serializer fails", serializer: contextSerializer{err: odd}, err: "the request context cannot be encoded: odd"},
		{name: "own", filter: func(rc RequestContext) RequestContext { return RequestContext{"project_id": rc["project_id"]} }, want: `{"project_id": "p"}`},
		{name: "panics", filter: func(RequestContext) RequestContext { panic("filter") }, err: "the request context cannot be encoded: panic: filter"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, tap := tapped(t)
			ctx := WithRequestContext(t.Context(), secretive())
			n := NewNotifier(r.Transport, &NotifierOptions{Context: tc.filter, Serializer: tc.serializer})
			err := n.Info(ctx, "e", nil)
			if tc.err != "" {
				if !errors.Is(err, ErrEncoding) || !strings.Contains(err.Error(), tc.err) || len(tap.take()) > 0 {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			m := tap.take()[0]
			if string(m.Context) != tc.want || tc.name != "extra" && strings.Contains(string(m.Context)+string(m.Body), "PLANTED") {
				t.Errorf("context %s, want %s, body %s", m.Context, tc.want, m.Body)
			}
			if rc, _ := RequestContextFrom(ctx); len(rc) != len(secretive()) {
				t.Errorf("the request context became %v", rc)
			}
		})
	}
}

func TestWholeContext(t *testing.T) {
	r, tap := tapped(t)
	ctx := WithRequestContext(t.Context(), secretive())
	if err := NewNotifier(r.Transport, &NotifierOptions{Context: WholeContext()}).Info(ctx, "e", nil); err != nil {
		t.Fatal(err)
	}
	if text := string(tap.take()[0].Context); strings.Count(text, "PLANTED") != 8 {
		t.Error(text)
	}
}

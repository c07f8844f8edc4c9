// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"testing"
)

type tenantKey struct{}

// tenantSerializer is a serializer with ways to fail, which the request chooses.
type tenantSerializer struct{ JSON }

func (tenantSerializer) Marshal(ctx context.Context, v any) ([]byte, error) {
	switch v {
	case "fail":
		return nil, errors.New("no")
	case "panic":
		panic("marshal")
	case "broken":
		return []byte(`{"a":`), nil
	case "ended":
		return json.Marshal(fmt.Sprint(ctx.Err()))
	}
	return json.Marshal(map[string]any{"result": v, "tenant": ctx.Value(tenantKey{})})
}

func (tenantSerializer) Unmarshal(ctx context.Context, data []byte, v any) error {
	var wrapped struct {
		Tenant string          `json:"for"`
		Args   json.RawMessage `json:"wrapped"`
	}
	if err := json.Unmarshal(data, &wrapped); err != nil {
		return err
	}
	switch {
	case wrapped.Tenant == "panic":
		panic("unmarshal")
	case wrapped.Tenant != ctx.Value(tenantKey{}):
		return fmt.Errorf("for %q, sent by %v", wrapped.Tenant, ctx.Value(tenantKey{}))
	}
	return json.Unmarshal(wrapped.Args, v)
}

func (tenantSerializer) UnmarshalContext(ctx context.Context, rc RequestContext) (context.Context, error) {
	switch rc["tenant"] {
	case nil:
		return nil, errors.New("no tenant")
	case "nil":
		return nil, nil //nolint:nilnil // what is tested
	case "panic":
		panic("context")
	}
	return context.WithValue(ctx, tenantKey{}, rc["tenant"]), nil
}

func TestServerSerializer(t *testing.T) {
	ep := NewEndpoint(nil)
	start := Method[startArgs, string]{Name: "start"}
	start.Handle(ep, func(ctx context.Context, a startArgs) (string, error) {
		rc, ok := RequestContextFrom(ctx)
		if !ok || rc["tenant"] != ctx.Value(tenantKey{}) {
			return "", errors.New("the request context is not there")
		}
		return a.ID, nil
	})
	ep.HandleFunc("map", func(_ context.Context, args map[string]any) (any, error) { return args["instance_id"], nil })
	ep.HandleRaw("raw", func(_ context.Context, args json.RawMessage) (any, error) { return len(args), nil })
	var before string
	middleware := func(next ServerHandler) ServerHandler {
		return func(ctx context.Context, r *ServerRequest) (any, error) {
			before = fmt.Sprint(ctx.Value(tenantKey{}))
			return next(ctx, r)
		}
	}
	s := newStage(t, &RPCServerOptions{Serializer: tenantSerializer{}, Middleware: []ServerMiddleware{middleware}}, ep)
	tests := []struct{ method, tenant, args, want string }{
		{"start", "t", `{"for":"t","wrapped":{"instance_id":"i"}}`, `{"result":"i","tenant":"t"}`},
		{"start", "t", `{"for":"t","wrapped":{"instance_id":"i","unknown":1}}`, `{"result":"i","tenant":"t"}`},
		{"map", "t", `{"for":"t","wrapped":{"instance_id":"i"}}`, `{"result":"i","tenant":"t"}`},
		{"raw", "t", `{"x":1}`, `{"result":7,"tenant":"t"}`},
		{"start", "t", `{"for":"u","wrapped":{}}`, `TypeError: start(): the arguments do not fit: for "u", sent by t`},
		{"start", "t", `{"for":"t","wrapped":{"instance_id":1}}`, "TypeError: start() argument 'instance_id' must be string, not number"},
		{"start", "t", `{"for":"panic"}`, "TypeError: start(): the arguments do not fit: panic: unmarshal"},
		{"start", "", `{}`, "ValueError: the request context cannot be understood: no tenant"},
		{"start", "nil", `{}`, "ValueError: the request context cannot be understood: the serializer returned no context"},
		{"start", "panic", `{}`, "ValueError: the request context cannot be understood: panic: context"},
		{"start", "t", `{"for":"t","wrapped":{"instance_id":"fail"}}`, "TypeError: the result cannot be encoded as JSON: no"},
		{"start", "t", `{"for":"t","wrapped":{"instance_id":"panic"}}`, "TypeError: the result cannot be encoded as JSON: panic: marshal"},
		{"start", "t", `{"for":"t","wrapped":{"instance_id":"broken"}}`, "TypeError: the result cannot be encoded as JSON: json: want a value at offset 5"},
		{"start", "t", `{"for":"t","wrapped":{"instance_id":"ended"}}`, "\"\\u003cnil\\u003e\""},
	}
	for i, tt := range tests {
		id := strconv.Itoa(i)
		d := callOf(id, tt.method, tt.args)
		if tt.tenant != "" {
			d.Context = []byte(`{"tenant":"` + tt.tenant + `"}`)
		}
		s.deliver(d)
		if got := s.reply(t, id); got != tt.want {
			t.Errorf("%d: %s(%s) as %q = %s, want %s", i, tt.method, tt.args, tt.tenant, got, tt.want)
		}
	}
	if before != "t" {
		t.Errorf("middleware had the tenant %s", before)
	}
	if stats := s.server.Stats(); stats.Malformed != 6 || stats.Handled != 8 || stats.Failed != 0 {
		t.Errorf("%+v", stats)
	}
}

// The default said aloud is the default: wrong names of arguments are refused.
func TestServerSerializerJSON(t *testing.T) {
	s := newStage(t, &RPCServerOptions{Serializer: JSON{}}, computeEndpoint())
	s.deliver(callOf("a", "start_instance", `{"wrong":1}`))
	if got := s.reply(t, "a"); got != "TypeError: start_instance() got an unexpected keyword argument 'wrong'" {
		t.Errorf("replied %s", got)
	}
	if stats := s.server.Stats(); stats.Malformed != 1 || stats.Handled != 0 {
		t.Errorf("%+v", stats)
	}
}

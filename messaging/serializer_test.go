// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
)

// user is an application's own request context.
type user struct{ Name string }

type userKey struct{}

// shouting is a Serializer with types, a context and an order of its own.
type shouting struct {
	JSON
	hooks *[]string
	fail  string // the hook that fails
}

func (s shouting) hook(ctx context.Context, name string) error {
	u, _ := ctx.Value(userKey{}).(user)
	*s.hooks = append(*s.hooks, name+" of "+u.Name)
	if s.fail == name {
		return errors.New("no " + name)
	}
	if s.fail == name+" panics" {
		panic("no " + name)
	}
	return nil
}

func (s shouting) Marshal(ctx context.Context, v any) ([]byte, error) {
	if err := s.hook(ctx, "marshal"); err != nil {
		return nil, err
	}
	text, err := json.Marshal(v)
	return []byte(strings.ToUpper(string(text))), err
}

func (s shouting) Unmarshal(ctx context.Context, data []byte, v any) error {
	if err := s.hook(ctx, "unmarshal"); err != nil {
		return err
	}
	return json.Unmarshal([]byte(strings.ToLower(string(data))), v)
}

func (s shouting) MarshalContext(ctx context.Context) (RequestContext, error) {
	if err := s.hook(ctx, "marshal context"); err != nil {
		return nil, err
	}
	return RequestContext{"user": ctx.Value(userKey{}).(user).Name}, nil
}

// clientSerializer makes a client with s that calls as alice.
func clientSerializer(t *testing.T, r *rig, s Serializer) (*RPCClient, context.Context) {
	c := NewRPCClient(r.Transport, Target{Topic: "compute"}, &RPCClientOptions{Serializer: s})
	return c, context.WithValue(t.Context(), userKey{}, user{"alice"})
}

func TestClientSerializer(t *testing.T) {
	var hooks []string
	r := newRig(t, nil)
	ep := NewEndpoint(nil)
	ep.HandleRaw("echo", func(ctx context.Context, args json.RawMessage) (any, error) {
		rc, _ := RequestContextFrom(ctx)
		return map[string]any{"GOT": string(args), "USER": rc["user"]}, nil
	})
	serve(t, r.Transport, computeTarget, nil, ep)
	c, ctx := clientSerializer(t, r, shouting{hooks: &hooks})
	var reply struct{ Got, User string }
	if err := c.Call(ctx, "echo", struct {
		Name string `json:"name"`
	}{"bob"}, &reply); err != nil {
		t.Fatal(err)
	}
	if reply.Got != `{"name":"bob"}` || reply.User != "alice" {
		t.Errorf("%+v", reply)
	}
	if want := "[marshal context of alice marshal of alice unmarshal of alice]"; fmt.Sprint(hooks) != want {
		t.Errorf("hooks %v", hooks)
	}
	hooks = nil
	if err := c.Call(ctx, "echo", nil, nil); err != nil || fmt.Sprint(hooks) != "[marshal context of alice]" {
		t.Errorf("without arguments and result: %v, hooks %v", err, hooks)
	}
}

func TestClientSerializerFails(t *testing.T) {
	for _, hook := range []string{"marshal", "marshal context", "unmarshal", "marshal panics", "unmarshal panics"} {
		t.Run(hook, func(t *testing.T) {
			r := newRig(t, nil)
			serve(t, r.Transport, computeTarget, nil, echoEndpoint())
			c, ctx := clientSerializer(t, r, shouting{hooks: new([]string), fail: hook})
			var reply any
			err := c.Call(ctx, "echo", map[string]any{"a": 1}, &reply)
			if !errors.Is(err, ErrEncoding) || !strings.Contains(err.Error(), "no "+strings.TrimSuffix(hook, " panics")) {
				t.Errorf("%v", err)
			}
			if r.replies.waitingNow() != 0 {
				t.Error("the call still waits")
			}
		})
	}
}

func TestPlain(t *testing.T) {
	for _, tt := range []struct {
		v    any
		want string // empty for an error
	}{
		{nil, "null"},
		{map[string]any{"a": []any{int64(1), 1.0, math.NaN(), "x", nil, true}}, `{"a":[1,1.0,NaN,"x",null,true]}`},
		{"text", `"text"`},
		{struct{ A int }{1}, ""},
		{map[string]any{"a": struct{}{}}, ""},
		{map[string]int{"a": 1}, ""},
		{make(chan int), ""},
	} {
		got, err := Plain{}.Marshal(t.Context(), tt.v)
		if strings.ReplaceAll(string(got), " ", "") != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%#v: %s, %v", tt.v, got, err)
		}
	}
	var v map[string]any
	if err := (Plain{}).Unmarshal(t.Context(), []byte(`{"n": 1180591620717411303424}`), &v); err != nil || fmt.Sprint(v["n"]) != "1180591620717411303424" {
		t.Errorf("%v, %v", v, err)
	}
}

// The default given by name is the default.
func TestJSONIsTheDefault(t *testing.T) {
	if fastSerializer(JSON{}) != nil || fastSerializer(nil) != nil || fastSerializer(Plain{}) == nil {
		t.Error("the fast paths are for the default alone")
	}
	ctx := WithRequestContext(t.Context(), RequestContext{"a": 1})
	rc, err := JSON{}.MarshalContext(ctx)
	if rc["a"] != 1 || err != nil {
		t.Errorf("%v, %v", rc, err)
	}
	text, err := JSON{}.Marshal(ctx, struct {
		A float64 `json:"a"`
	}{1})
	if string(text) != `{"a":1}` || err != nil {
		t.Errorf("%s, %v", text, err)
	}
	var n struct{ A int }
	if err := (JSON{}).Unmarshal(ctx, text, &n); err != nil || n.A != 1 {
		t.Errorf("%v, %v", n, err)
	}
}

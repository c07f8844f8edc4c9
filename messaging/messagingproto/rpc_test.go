// SPDX-License-Identifier: Apache-2.0

package messagingproto_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/messaging/messagingproto"
	"github.com/parleymq/parley/messaging/messagingtest"
)

type methods struct {
	option messaging.Method[*descriptorpb.UninterpretedOption, *durationpb.Duration]
	object messaging.Method[*structpb.Struct, *structpb.Value]
	plain  messaging.Method[map[string]int, []int]
}

func newMethods() methods {
	return methods{
		option: messaging.Method[*descriptorpb.UninterpretedOption, *durationpb.Duration]{Name: "option"},
		object: messaging.Method[*structpb.Struct, *structpb.Value]{Name: "object"},
		plain:  messaging.Method[map[string]int, []int]{Name: "plain"},
	}
}

// start returns a broker with a server that speaks protobuf, and a client for each way to name
// fields.
func start(t *testing.T) (broker *messagingtest.Broker, snake, camel *messaging.RPCClient) {
	t.Helper()
	broker = messagingtest.NewBroker()
	tr := broker.Transport(t, &messaging.Options{Logger: slog.New(slog.DiscardHandler)})
	ep := messaging.NewEndpoint(nil)
	m := newMethods()
	m.option.Handle(ep, func(_ context.Context, a *descriptorpb.UninterpretedOption) (*durationpb.Duration, error) {
		if a.GetIdentifierValue() == "" {
			return nil, nil
		}
		return &durationpb.Duration{Seconds: int64(a.GetPositiveIntValue() >> 58)}, nil
	})
	m.object.Handle(ep, func(_ context.Context, a *structpb.Struct) (*structpb.Value, error) { return a.GetFields()["x"], nil })
	m.plain.Handle(ep, func(_ context.Context, a map[string]int) ([]int, error) { return []int{len(a)}, nil })
	srv := messaging.NewRPCServer(tr, messaging.Target{Topic: "t", Server: "s"},
		&messaging.RPCServerOptions{Serializer: messagingproto.Serializer{}}, ep)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(t.Context()) }()
	t.Cleanup(func() {
		if err := <-served; !errors.Is(err, messaging.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	})
	<-srv.Ready()
	client := func(s messagingproto.Serializer) *messaging.RPCClient {
		return messaging.NewRPCClient(tr, messaging.Target{Topic: "t"}, &messaging.RPCClientOptions{Serializer: s})
	}
	return broker, client(messagingproto.Serializer{}), client(messagingproto.Serializer{MarshalOptions: &protojson.MarshalOptions{}})
}

func TestCalls(t *testing.T) {
	broker, snake, camel := start(t)
	m := newMethods()
	for name, c := range map[string]*messaging.RPCClient{"snake": snake, "camel": camel} {
		t.Run(name, func(t *testing.T) {
			if d, err := m.option.Call(t.Context(), c, option()); err != nil || d.GetSeconds() != 4 {
				t.Errorf("message: %v, %v", d, err)
			}
			if d, err := m.option.Call(t.Context(), c, nil); err != nil || d != nil {
				t.Errorf("nil message: %v, %v", d, err)
			}
			object, err := structpb.NewStruct(map[string]any{"x": "y"})
			if err != nil {
				t.Fatal(err)
			}
			if v, err := m.object.Call(t.Context(), c, object); err != nil || v.GetStringValue() != "y" {
				t.Errorf("object: %v, %v", v, err)
			}
			if n, err := m.plain.Call(t.Context(), c, map[string]int{"a": 1}); err != nil || len(n) != 1 || n[0] != 1 {
				t.Errorf("plain: %v, %v", n, err)
			}
			var untyped any
			if err := c.Call(t.Context(), "option", option(), &untyped); err != nil || untyped != "4s" {
				t.Errorf("untyped result: %v, %v", untyped, err)
			}
		})
	}
	if s := broker.Sent(messagingtest.Match{Method: "option"})[0]; len(s.Args) == 0 {
		t.Errorf("sent %s", s.Body)
	}
}

// TestCallsThatDoNotFit fail with what they are answered.
func TestCallsThatDoNotFit(t *testing.T) {
	_, snake, _ := start(t)
	for name, args := range map[string]any{
		"unknown argument": map[string]any{"color": 1}, "wrong type": map[string]any{"identifier_value": []any{}},
	} {
		t.Run(name, func(t *testing.T) {
			err := snake.Call(t.Context(), "option", args, nil)
			if remote, ok := errors.AsType[*messaging.RemoteError](err); !ok || remote.Class != "TypeError" {
				t.Errorf("got %v", err)
			}
		})
	}
	// Not an object: these are no arguments.
	if err := snake.Call(t.Context(), "option", &durationpb.Duration{Seconds: 1}, nil); !errors.Is(err, messaging.ErrEncoding) {
		t.Errorf("a message that is no object: %v", err)
	}
}

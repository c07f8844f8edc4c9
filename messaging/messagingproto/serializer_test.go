// SPDX-License-Identifier: Apache-2.0

package messagingproto_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/messaging/messagingproto"
)

// option is a message of a few plain fields, with names of two words.
func option() *descriptorpb.UninterpretedOption {
	return &descriptorpb.UninterpretedOption{IdentifierValue: proto.String("x"), PositiveIntValue: proto.Uint64(1 << 60)}
}

func compact(t *testing.T, text []byte) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, text); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return b.String()
}

func TestMarshal(t *testing.T) {
	camel := messagingproto.Serializer{MarshalOptions: &protojson.MarshalOptions{}}
	for _, tc := range []struct {
		name string
		s    messagingproto.Serializer
		v    any
		want string
	}{
		{name: "message", v: option(), want: `{"identifier_value":"x","positive_int_value":"1152921504606846976"}`},
		{name: "other names", s: camel, v: option(), want: `{"identifierValue":"x","positiveIntValue":"1152921504606846976"}`},
		{name: "well-known message", v: &durationpb.Duration{Seconds: 3}, want: `"3s"`},
		{name: "nil message", v: (*durationpb.Duration)(nil), want: `null`},
		{name: "null value", v: structpb.NewNullValue(), want: `null`},
		{name: "nil", v: nil, want: `null`},
		{name: "plain value", v: map[string]any{"n": 1.0}, want: `{"n":1.0}`},
		{name: "struct", v: struct {
			N int `json:"n"`
		}{1}, want: `{"n":1}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			text, err := tc.s.Marshal(t.Context(), tc.v)
			if err != nil {
				t.Fatal(err)
			}
			if got := compact(t, text); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

func TestUnmarshalIntoAMessage(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		want       proto.Message
	}{
		{"proto names", `{"identifier_value": "x", "positive_int_value": 1152921504606846976}`, option()},
		{"JSON names", `{"identifierValue": "x", "positiveIntValue": "1152921504606846976"}`, option()},
		{"empty object", `{}`, &descriptorpb.UninterpretedOption{}},
		{"null", ` null `, &descriptorpb.UninterpretedOption{}},
		{"nothing", ``, &descriptorpb.UninterpretedOption{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := &descriptorpb.UninterpretedOption{StringValue: []byte("from before")}
			if err := (messagingproto.Serializer{}).Unmarshal(t.Context(), []byte(tc.text), got); err != nil {
				t.Fatal(err)
			}
			if !proto.Equal(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

// TestUnmarshalIntoAPlace: what a typed method decodes into is a pointer to a nil message.
func TestUnmarshalIntoAPlace(t *testing.T) {
	s := messagingproto.Serializer{}
	got := option()
	if err := s.Unmarshal(t.Context(), []byte(`{"identifier_value": "y"}`), &got); err != nil || got.GetIdentifierValue() != "y" {
		t.Errorf("got %v, %v", got, err)
	}
	if err := s.Unmarshal(t.Context(), []byte(`null`), &got); err != nil || got != nil {
		t.Errorf("null became %v, %v", got, err)
	}
	var value *structpb.Value
	if err := s.Unmarshal(t.Context(), []byte(`null`), &value); err != nil || value == nil {
		t.Errorf("the null value became %v, %v", value, err)
	}
}

func TestUnmarshalTheRest(t *testing.T) {
	s := messagingproto.Serializer{}
	var untyped any
	if err := s.Unmarshal(t.Context(), []byte(`[1, 1.0]`), &untyped); err != nil || len(untyped.([]any)) != 2 {
		t.Errorf("got %v, %v", untyped, err)
	}
	var typed struct {
		N int `json:"n"`
	}
	if err := s.Unmarshal(t.Context(), []byte(`{"n": 3}`), &typed); err != nil || typed.N != 3 {
		t.Errorf("got %v, %v", typed, err)
	}
	var text *string
	if err := s.Unmarshal(t.Context(), []byte(`"x"`), &text); err != nil || *text != "x" {
		t.Errorf("got %v, %v", text, err)
	}
}

func TestUnmarshalFails(t *testing.T) {
	lenient := messagingproto.Serializer{UnmarshalOptions: protojson.UnmarshalOptions{DiscardUnknown: true}}
	for name, text := range map[string]string{
		"unknown field": `{"color": 1}`, "wrong type": `{"identifier_value": 1}`, "NaN": `{"double_value": NaN}`, "no JSON": `{`,
	} {
		t.Run(name, func(t *testing.T) {
			got := option()
			if err := (messagingproto.Serializer{}).Unmarshal(t.Context(), []byte(text), &got); err == nil {
				t.Errorf("%s became %v", text, got)
			} else if got.GetIdentifierValue() != "x" {
				t.Error("the failure left something behind")
			}
		})
	}
	if err := lenient.Unmarshal(t.Context(), []byte(`{"color": 1}`), option()); err != nil {
		t.Errorf("unknown field, to be ignored: %v", err)
	}
}

// TestContextIsJSONs: the context's half is the embedded one.
func TestContextIsJSONs(t *testing.T) {
	ctx := messaging.WithRequestContext(t.Context(), messaging.RequestContext{"request_id": "req-1"})
	rc, err := messagingproto.Serializer{}.MarshalContext(ctx)
	if err != nil || rc["request_id"] != "req-1" {
		t.Errorf("got %v, %v", rc, err)
	}
}

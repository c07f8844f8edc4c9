// SPDX-License-Identifier: Apache-2.0

// Package messagingproto carries protobuf messages as arguments and results.
//
//	var Start = messaging.Method[*pb.StartArgs, *pb.StartReply]{Name: "start_instance"}
//
//	opts := &messaging.RPCClientOptions{Serializer: messagingproto.Serializer{}}
package messagingproto

import (
	"bytes"
	"context"
	"reflect"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/parleymq/parley/messaging"
)

// Serializer encodes protobuf messages as ProtoJSON, and everything else, request contexts
// included, as [messaging.JSON] does. A message is one as the whole of the arguments or of the
// result; inside a struct or a map it is encoding/json's, which does not know it.
//
// A nil message is null as a result and no arguments as arguments, and null is decoded to nil, or
// into a message that is there as the empty one. ProtoJSON writes 64-bit integers as strings; a
// Python peer gets them as such, and may send numbers.
type Serializer struct {
	messaging.JSON
	// MarshalOptions are how messages are written. Default: with the names of the .proto file,
	// such as instance_id, because Python's arguments are named so, and not lowerCamelCase.
	MarshalOptions *protojson.MarshalOptions
	// UnmarshalOptions are how messages are read. Both kinds of names are understood; names that
	// the message does not have are an error unless DiscardUnknown is set.
	UnmarshalOptions protojson.UnmarshalOptions
}

var _ messaging.Serializer = Serializer{}

// Marshal implements [messaging.Serializer].
func (s Serializer) Marshal(ctx context.Context, v any) ([]byte, error) {
	m, ok := v.(proto.Message)
	switch {
	case !ok:
		return s.JSON.Marshal(ctx, v)
	case !m.ProtoReflect().IsValid():
		return []byte("null"), nil
	case s.MarshalOptions != nil:
		return s.MarshalOptions.Marshal(m)
	default:
		return protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	}
}

// Unmarshal implements [messaging.Serializer].
func (s Serializer) Unmarshal(ctx context.Context, data []byte, v any) error {
	if m, ok := v.(proto.Message); ok {
		return s.read(data, m)
	}
	place, ok := messagePlace(v)
	if !ok {
		return s.JSON.Unmarshal(ctx, data, v)
	}
	m := reflect.New(place.Type().Elem())
	message := m.Interface().(proto.Message) // messagePlace has looked
	if isNull(data) && !takesNull(message) {
		place.SetZero()
		return nil
	}
	if err := s.read(data, message); err != nil {
		return err
	}
	place.Set(m)
	return nil
}

func (s Serializer) read(data []byte, m proto.Message) error {
	if isNull(data) && !takesNull(m) {
		proto.Reset(m)
		return nil
	}
	return s.UnmarshalOptions.Unmarshal(data, m)
}

// messagePlace returns what v points to when that holds a pointer to a message: what typed
// methods decode into.
func messagePlace(v any) (reflect.Value, bool) {
	p := reflect.ValueOf(v)
	if p.Kind() != reflect.Pointer || p.IsNil() {
		return reflect.Value{}, false
	}
	t := p.Type().Elem()
	if t.Kind() != reflect.Pointer || !t.Implements(reflect.TypeFor[proto.Message]()) {
		return reflect.Value{}, false
	}
	return p.Elem(), true
}

// isNull takes nothing for null, as package messaging does.
func isNull(data []byte) bool {
	data = bytes.TrimSpace(data)
	return len(data) == 0 || string(data) == "null"
}

// takesNull reports whether null is a value of the message.
func takesNull(m proto.Message) bool {
	_, ok := m.(*structpb.Value)
	return ok
}

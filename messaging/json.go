// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"github.com/parleymq/parley/internal/pyjson"
)

// codec encodes the application's values. It keeps buffers between uses; the zero value is
// ready, and it may be used by many goroutines at once.
type codec struct{ pool sync.Pool }

// maxPooled is the largest buffer that is kept: one huge message must not pin its memory.
const maxPooled = 64 << 10

// scratch is a buffer and an encoder that writes to it. It is an io.Writer over a slice, so
// that both ways of encoding append to the same text.
type scratch struct {
	text []byte
	std  *json.Encoder
}

func (s *scratch) Write(p []byte) (int, error) {
	s.text = append(s.text, p...)
	return len(p), nil
}

func (c *codec) get() *scratch {
	if s, ok := c.pool.Get().(*scratch); ok {
		s.text = s.text[:0]
		return s
	}
	s := &scratch{}
	s.std = json.NewEncoder(s)
	s.std.SetEscapeHTML(false)
	return s
}

func (c *codec) put(s *scratch) {
	if cap(s.text) <= maxPooled {
		c.pool.Put(s)
	}
}

// value appends v. Plain values are written in the dialect of Python, where 1.0 stays a float
// and NaN is a value; everything else is encoding/json's.
func (s *scratch) value(v any) error {
	switch v := v.(type) {
	case nil, bool, string, int, int64, float64, *big.Int, []any, map[string]any:
		return s.plain(v)
	case json.RawMessage:
		return s.raw(v)
	case struct{}:
		s.text = append(s.text, "null"...)
		return nil
	default:
		return s.standard(v)
	}
}

// plain tries the dialect and leaves to encoding/json what has other types inside.
func (s *scratch) plain(v any) error {
	before := len(s.text)
	text, err := pyjson.Append(s.text, v)
	if err == nil {
		s.text = text
		return nil
	}
	s.text = s.text[:before]
	return s.standard(v)
}

func (s *scratch) raw(v json.RawMessage) error {
	if len(v) == 0 {
		s.text = append(s.text, "null"...)
		return nil
	}
	if err := pyjson.Valid(v); err != nil {
		return err
	}
	s.text = append(s.text, v...)
	return nil
}

func (s *scratch) standard(v any) error {
	if err := s.std.Encode(v); err != nil {
		return err
	}
	s.text = bytes.TrimSuffix(s.text, []byte("\n")) // Encode ends every value with one
	return nil
}

// isPlain reports whether v is made of what the dialect of Python writes, at any depth.
func (s *scratch) isPlain(v any) bool {
	text, err := pyjson.Append(s.text[:0], v)
	s.text = text[:0]
	return err == nil
}

// encode returns the text of v in memory of its own.
func (c *codec) encode(v any) ([]byte, error) {
	s := c.get()
	defer c.put(s)
	if err := s.value(v); err != nil {
		return nil, err
	}
	return bytes.Clone(s.text), nil
}

var errNotObject = errors.New("the arguments are not a JSON object: use a struct or a map with string keys")

// request returns the body of a call or cast. The order of the keys is upstream's
// (oslo_messaging/rpc/client.py, _make_message): method, args, namespace, version.
func (c *codec) request(method string, args any, namespace, version string) ([]byte, error) {
	s := c.get()
	defer c.put(s)
	s.text = append(s.text, `{"method":`...)
	s.text = pyjson.AppendString(s.text, method)
	s.text = append(s.text, `,"args":`...)
	if err := s.args(args); err != nil {
		return nil, err
	}
	if namespace != "" {
		s.text = append(s.text, `,"namespace":`...)
		s.text = pyjson.AppendString(s.text, namespace)
	}
	if version != "" {
		s.text = append(s.text, `,"version":`...)
		s.text = pyjson.AppendString(s.text, version)
	}
	s.text = append(s.text, '}')
	return bytes.Clone(s.text), nil
}

// args appends the arguments: nothing, and a nil map or pointer, are an empty object.
func (s *scratch) args(args any) error {
	start := len(s.text)
	if _, none := args.(struct{}); args == nil || none {
		s.text = append(s.text, "{}"...)
		return nil
	}
	if err := s.value(args); err != nil {
		return err
	}
	switch value := pyjson.Trim(s.text[start:]); {
	case pyjson.IsNull(value):
		s.text = append(s.text[:start], "{}"...)
	case value[0] != '{':
		return errNotObject
	}
	return nil
}

// decodeInto decodes the JSON value raw into the pointer into. Untyped targets (*any,
// *map[string]any, *[]any) are decoded exactly, in the dialect of Python; typed ones are
// encoding/json's. An empty raw counts as null; a nil into takes anything.
func decodeInto(raw []byte, into any) error {
	if len(raw) == 0 {
		raw = []byte("null")
	}
	switch into := into.(type) {
	case nil, *struct{}:
		return nil
	case *json.RawMessage:
		*into = raw
		return nil
	case *any:
		return decodePlain(raw, into)
	case *map[string]any:
		return decodePlain(raw, into)
	case *[]any:
		return decodePlain(raw, into)
	default:
		return decodeTyped(raw, into)
	}
}

func decodePlain[T any](raw []byte, into *T) error {
	v, err := pyjson.Decode(raw)
	if err != nil {
		return err
	}
	if v == nil {
		var zero T
		*into = zero
		return nil
	}
	typed, ok := v.(T)
	if !ok {
		return fmt.Errorf("a %s does not fit a %T", kindOf(v), *into)
	}
	*into = typed
	return nil
}

func decodeTyped(raw []byte, into any) error {
	err := json.Unmarshal(raw, into)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) && pyjson.Valid(raw) == nil {
		return errors.New("the value holds NaN or Infinity, which encoding/json does not take: decode into any or json.RawMessage")
	}
	return err
}

// kindOf names the JSON type of a decoded value.
func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case []any:
		return "list"
	case map[string]any:
		return "object"
	default:
		return "number"
	}
}

// checkPointer refuses what a reply cannot be decoded into, before anything is sent.
func checkPointer(reply any) error {
	if reply == nil {
		return nil
	}
	if v := reflect.ValueOf(reply); v.Kind() != reflect.Pointer || v.IsNil() {
		return fmt.Errorf("the reply is a %T: pass a pointer that is not nil, or nil to ignore the result", reply)
	}
	return nil
}

// request is a call or cast as it was received.
type request struct {
	method    string
	namespace string
	version   string
	args      []byte // a JSON object
}

// maxKnownFields is how many fields a request from any known peer has.
const maxKnownFields = 8

// parseRequest takes a body apart. It is as tolerant as upstream's server (dispatcher.py,
// RPCDispatcher.dispatch): unknown keys are ignored, args may be missing; beyond that null
// stands for missing everywhere.
func parseRequest(body []byte) (request, error) {
	var room [maxKnownFields]pyjson.Field
	fields, err := pyjson.Fields(room[:0], body)
	if err != nil {
		return request{}, err
	}
	r := request{args: []byte("{}")}
	for _, f := range fields {
		switch string(f.Key) {
		case "method":
			err = textField(&r.method, f)
		case "namespace":
			err = textField(&r.namespace, f)
		case "version":
			err = textField(&r.version, f)
		case "args":
			err = argsField(&r.args, f)
		}
		if err != nil {
			return r, err
		}
	}
	if r.method == "" {
		return r, errors.New("the request has no method")
	}
	return r, nil
}

func textField(into *string, f pyjson.Field) error {
	if pyjson.IsNull(f.Value) {
		*into = ""
		return nil
	}
	if !pyjson.IsString(f.Value) {
		return fmt.Errorf("the request's %s is not a string", f.Key)
	}
	var err error
	*into, err = unquote(f.Value)
	return err
}

func argsField(into *[]byte, f pyjson.Field) error {
	switch {
	case pyjson.IsNull(f.Value):
		*into = []byte("{}")
	case f.Value[0] != '{':
		return errors.New("the request's args are not an object")
	default:
		*into = f.Value
	}
	return nil
}

// unquote returns the text of a raw JSON string.
func unquote(raw []byte) (string, error) {
	if inner := raw[1 : len(raw)-1]; bytes.IndexByte(inner, '\\') < 0 && isASCII(inner) {
		return string(inner), nil
	}
	text, err := pyjson.Unquote(nil, raw)
	return string(text), err
}

func isASCII(s []byte) bool {
	for _, b := range s {
		if b >= 0x80 {
			return false
		}
	}
	return true
}

// argumentNames returns the names that a struct takes as arguments, or nil when the type is
// not a struct or decodes itself, so that any name may fit.
func argumentNames(t reflect.Type) map[string]struct{} {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		return nil
	}
	names := make(map[string]struct{})
	for _, f := range reflect.VisibleFields(t) {
		if name, ok := argumentName(f); ok {
			names[name] = struct{}{}
		}
	}
	return names
}

// argumentName returns the JSON name of a field, by the rules of encoding/json.
func argumentName(f reflect.StructField) (string, bool) {
	tag := f.Tag.Get("json")
	name, _, _ := strings.Cut(tag, ",")
	switch {
	case tag == "-", !f.IsExported():
		return "", false
	case name != "":
		return name, true
	case f.Anonymous && isStruct(f.Type):
		return "", false // its fields are promoted and visible themselves
	default:
		return f.Name, true
	}
}

func isStruct(t reflect.Type) bool {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.Kind() == reflect.Struct
}

// checkArguments returns a TypeError, as a Python server would, for the first argument that
// is not among names.
func checkArguments(method string, args []byte, names map[string]struct{}) error {
	if names == nil {
		return nil
	}
	var room [2 * maxKnownFields]pyjson.Field
	fields, err := pyjson.Fields(room[:0], args)
	if err != nil {
		return err
	}
	for _, f := range fields {
		if _, ok := names[string(f.Key)]; !ok {
			return typeError(method + "() got an unexpected keyword argument " + quotePython(string(f.Key)))
		}
	}
	return nil
}

// argumentError is the TypeError for arguments that do not fit their types.
func argumentError(method string, err error) error {
	var mismatch *json.UnmarshalTypeError
	if errors.As(err, &mismatch) {
		where := ""
		if mismatch.Field != "" {
			where = " " + quotePython(mismatch.Field)
		}
		return typeError(fmt.Sprintf("%s() argument%s must be %s, not %s", method, where, mismatch.Type, mismatch.Value))
	}
	return typeError(fmt.Sprintf("%s(): the arguments do not fit: %v", method, err))
}

// quotePython quotes a name as Python's messages do.
func quotePython(s string) string {
	if strings.ContainsAny(s, `'\`) {
		return strconv.Quote(s)
	}
	return "'" + s + "'"
}

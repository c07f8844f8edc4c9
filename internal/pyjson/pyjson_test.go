// SPDX-License-Identifier: Apache-2.0

package pyjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestFields(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       []string // key, value, key, value ...
	}{
		{"empty", ` { } `, nil},
		{"one", `{"a":1}`, []string{"a", "1"}},
		{"space", "\t{ \"a\" :\r\n [1 , 2] , \"b\" : {\"c\": null} }\n", []string{"a", "[1 , 2]", "b", `{"c": null}`}},
		{"python numbers", `{"a":NaN,"b":-Infinity,"c":Infinity,"d":1180591620717411303424,"e":-1.5e+300}`,
			[]string{"a", "NaN", "b", "-Infinity", "c", "Infinity", "d", "1180591620717411303424", "e", "-1.5e+300"}},
		{"duplicates", `{"a":1,"a":2}`, []string{"a", "1", "a", "2"}},
		{"escaped key", `{"\u006dethod":"x\"y"}`, []string{"method", `"x\"y"`}},
		{"lone surrogate", `{"a":"\ud800"}`, []string{"a", `"\ud800"`}},
		{"brackets in text", `{"a":"}]{[,:","b":true}`, []string{"a", `"}]{[,:"`, "b", "true"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fields, err := Fields(nil, []byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range fields {
				got = append(got, string(f.Key), string(f.Value))
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if _, err := Decode([]byte(tt.text)); err != nil {
				t.Errorf("Decode: %v", err)
			}
		})
	}
}

// malformed texts are refused by Fields and Decode, at the same offset.
var malformed = []struct {
	text   string
	offset int
}{
	{``, 0}, {`{`, 1}, {`{"a"`, 4}, {`{"a":`, 5}, {`{"a":1`, 6}, {`{"a":1,`, 7}, {`{"a":1,}`, 7},
	{`{"a" 1}`, 5}, {`{"a":1 "b":2}`, 7}, {`{a:1}`, 1}, {`{"a":nul}`, 5}, {`{"a":01}`, 6},
	{`{"a":1.}`, 7}, {`{"a":1e}`, 7}, {`{"a":-}`, 6}, {`{"a":+1}`, 5}, {`{"a":"x}`, 8},
	{"{\"a\":\"\n\"}", 6}, {`{"a":"\x"}`, 6}, {`{"a":"\u12g4"}`, 6}, {`{"a":[1,]}`, 8}, {`{"a":[1 2]}`, 8},
	{`{"a":1}}`, 7}, {`{"a":-Inf}`, 5}, {`{"a":nan}`, 5}, {`{"a":'x'}`, 5}, {"\ufeff{}", 0},
}

func TestMalformed(t *testing.T) {
	for _, tt := range malformed {
		t.Run(tt.text, func(t *testing.T) {
			_, err := Fields(nil, []byte(tt.text))
			var syntax *SyntaxError
			if !errors.As(err, &syntax) || syntax.Offset != tt.offset {
				t.Errorf("Fields: got %v, want an error at offset %d", err, tt.offset)
			}
			_, err = Decode([]byte(tt.text))
			if !errors.As(err, &syntax) || syntax.Offset != tt.offset {
				t.Errorf("Decode: got %v, want an error at offset %d", err, tt.offset)
			}
		})
	}
	if _, err := Fields(nil, []byte(`[1]`)); err == nil {
		t.Error("Fields took an array for an object")
	}
}

func TestDepth(t *testing.T) {
	nested := func(n int) []byte {
		return []byte(`{"a":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}`)
	}
	if err := Valid(nested(MaxDepth - 1)); err != nil {
		t.Errorf("MaxDepth containers: %v", err)
	}
	for _, text := range [][]byte{nested(MaxDepth), nested(1_000_000), []byte(strings.Repeat(`{"a":`, 100_000))} {
		if _, err := Fields(nil, text); err == nil || !strings.Contains(err.Error(), "deep") {
			t.Errorf("Fields: got %v", err)
		}
		if _, err := Decode(text); err == nil || !strings.Contains(err.Error(), "deep") {
			t.Errorf("Decode: got %v", err)
		}
	}
	var deep any
	for range MaxDepth + 1 {
		deep = []any{deep}
	}
	if _, err := Encode(deep); err == nil {
		t.Error("Encode of a value nested too deeply succeeded")
	}
}

func TestDecode(t *testing.T) {
	big70, _ := new(big.Int).SetString("1180591620717411303424", 10)
	for _, tt := range []struct {
		text string
		want any
		back string // Encode's text when it differs
	}{
		{"null", nil, ""}, {"true", true, ""}, {"false", false, ""},
		{"1", int64(1), ""}, {"1.0", 1.0, ""}, {"-0", int64(0), "0"}, {"-0.0", math.Copysign(0, -1), ""},
		{"9223372036854775807", int64(math.MaxInt64), ""}, {"1180591620717411303424", big70, ""},
		{"1e999", math.Inf(1), "Infinity"}, {"-1e999", math.Inf(-1), "-Infinity"}, {"2.5E-3", 0.0025, "0.0025"},
		{"1e+300", 1e300, ""}, {"1e16", 1e16, "1e+16"}, {"1e15", 1e15, "1000000000000000.0"},
		{`"h\u00e9llo \u2603"`, "héllo ☃", `"héllo ☃"`}, {`"\ud83d\ude00"`, "😀", `"😀"`},
		{`"\ud800"`, "\ufffd", "\"\ufffd\""}, {`"\ud800\ud800x"`, "\ufffd\ufffdx", "\"\ufffd\ufffdx\""},
		{`"\udc00\u0041"`, "\ufffdA", "\"\ufffdA\""}, {`"\b\f\n\r\t\/\\\""`, "\b\f\n\r\t/\\\"", `"\b\f\n\r\t/\\\""`},
		{`"<&>\u2028"`, "<&>\u2028", "\"<&>\u2028\""}, {`"\u0000\u001f"`, "\x00\x1f", ""},
		{`[1, [], {}]`, []any{int64(1), []any{}, map[string]any{}}, ""},
		{`{"b": 1, "a": 2, "b": 3}`, map[string]any{"a": int64(2), "b": int64(3)}, `{"a": 2, "b": 3}`},
	} {
		t.Run(tt.text, func(t *testing.T) {
			got, err := Decode([]byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("Decode: got %#v, want %#v", got, tt.want)
			}
			back, err := Encode(got)
			if err != nil {
				t.Fatal(err)
			}
			if want := cmpOr(tt.back, tt.text); string(back) != want {
				t.Errorf("Encode: got %s, want %s", back, want)
			}
		})
	}
	if v, err := Decode([]byte("NaN")); err != nil || !math.IsNaN(v.(float64)) {
		t.Errorf("NaN: got %v, %v", v, err)
	}
	if _, err := Decode([]byte(strings.Repeat("9", MaxIntDigits+1))); err == nil {
		t.Error("an integer with too many digits was decoded")
	}
	if _, err := Encode(struct{}{}); err == nil {
		t.Error("a struct was encoded")
	}
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func TestAppendString(t *testing.T) {
	for in, want := range map[string]string{
		"": `""`, "plain": `"plain"`, "a\"b\\c": `"a\"b\\c"`, "\x00\x1f\x7f": "\"\\u0000\\u001f\x7f\"",
		"<&>": `"<&>"`, "héllo": `"héllo"`, "a\xffb\xc3": "\"a\ufffdb\ufffd\"", "\ufffd": "\"\ufffd\"",
	} {
		if got := string(AppendString(nil, in)); got != want {
			t.Errorf("AppendString(%q) = %s, want %s", in, got, want)
		}
		if got := string(AppendString(nil, []byte(in))); got != want {
			t.Errorf("AppendString of bytes %q = %s, want %s", in, got, want)
		}
	}
	// The source may be the part of dst that stands before.
	dst := []byte(`say "hi"`)
	dst = AppendString(dst, dst)
	if string(dst) != `say "hi""say \"hi\""` {
		t.Errorf("appending to itself: %s", dst)
	}
}

func TestUnquoteRefuses(t *testing.T) {
	for _, text := range []string{``, `x`, `"`, `"a`, `"a"b`, `1`, `"\q"`} {
		if _, err := Unquote(nil, []byte(text)); err == nil {
			t.Errorf("Unquote(%s) succeeded", text)
		}
	}
}

func FuzzScan(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		fields, err := Fields(nil, text)
		if valid := Valid(text); err == nil && valid != nil {
			t.Fatalf("Fields took what Valid refuses: %v", valid)
		}
		for _, field := range fields {
			if err == nil && Valid(field.Value) != nil {
				t.Fatalf("value %q is not valid", field.Value)
			}
		}
		if json.Valid(text) && Valid(text) != nil && depth(text) < MaxDepth {
			t.Fatalf("valid JSON refused: %v", Valid(text))
		}
	})
}

func FuzzDecode(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := Decode(text)
		if (err == nil) != (Valid(text) == nil) && !strings.Contains(err.Error(), "digits") {
			t.Fatalf("Decode says %v, Valid says %v", err, Valid(text))
		}
		if err != nil {
			return
		}
		back, err := Encode(got)
		if err != nil || !utf8.Valid(back) {
			t.Fatalf("Encode: %q, %v", back, err)
		}
		again, err := Decode(back)
		if err != nil || !same(got, again) {
			t.Fatalf("decoded %#v, then %#v, %v", got, again, err)
		}
		var want any
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		if json.Valid(text) && d.Decode(&want) == nil && !same(got, want) {
			t.Fatalf("got %#v, encoding/json says %#v", got, want)
		}
	})
}

func seed(f *testing.F) {
	for _, tt := range malformed {
		f.Add([]byte(tt.text))
	}
	for _, s := range []string{
		`{"a":[1,2.5,NaN,-Infinity,"x\u00e9\ud800",null,true,{"b":{}}],"a":1180591620717411303424}`,
		`"\ud83d\ude00"`, "\"a\xffb\"", `[[[[]]]]`, `-0.0e-0`,
	} {
		f.Add([]byte(s))
	}
}

func depth(text []byte) int { return bytes.Count(text, []byte("[")) + bytes.Count(text, []byte("{")) }

// same compares values, with NaN equal to itself and json.Number equal to the number.
func same(a, b any) bool {
	if n, ok := b.(json.Number); ok {
		v, err := Decode([]byte(n))
		return err == nil && same(a, v)
	}
	switch a := a.(type) {
	case float64:
		f, ok := b.(float64)
		return ok && (a == f || math.IsNaN(a) && math.IsNaN(f))
	case []any:
		list, ok := b.([]any)
		if !ok || len(a) != len(list) {
			return false
		}
		for i := range a {
			if !same(a[i], list[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		object, ok := b.(map[string]any)
		if !ok || len(a) != len(object) {
			return false
		}
		for k := range a {
			if v, ok := object[k]; !ok || !same(a[k], v) {
				return false
			}
		}
		return true
	default:
		return reflect.DeepEqual(a, b)
	}
}

func BenchmarkFields(b *testing.B) {
	text := []byte(`{"method": "echo", "args": {"a": 1, "msg": "hello"}, "version": "1.0", "_msg_id": "b695eaf47a1846dda541316f95ff6377", "_reply_q": "reply_8693ba5c507a453aa2a16081a816e15f", "_timeout": null, "_unique_id": "5d008040f31347cfbec1c981e7e7e69e", "_context_user": "alice", "_context_roles": ["admin", "member"]}`)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		var room [16]Field
		if _, err := Fields(room[:0], text); err != nil {
			b.Fatal(err)
		}
	}
}

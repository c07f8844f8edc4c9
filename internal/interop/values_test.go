// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"bytes"
	"encoding/json"
	"math"
	"math/big"
	"reflect"
	"strings"
	"testing"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/messaging"
)

// value is a value in the text that Python's side sends and gets, and as Go's side sees it.
type value struct {
	name string
	text string
	want any
	typ  string // of want, as a handler sees it
}

func values() []value {
	huge, _ := new(big.Int).SetString("1180591620717411303424", 10) // 2**70
	mebibyte := strings.Repeat("0123456789abcdef", 1<<16)
	return []value{
		{"None", `null`, nil, "<nil>"},
		{"False", `false`, false, "bool"},
		{"True", `true`, true, "bool"},
		{"0", `0`, int64(0), "int64"},
		{"0.0", `0.0`, 0.0, "float64"},
		{"1", `1`, int64(1), "int64"},
		{"1.0", `1.0`, 1.0, "float64"},
		{"-7", `-7`, int64(-7), "int64"},
		{"2.5", `2.5`, 2.5, "float64"},
		{"2**53+1", `9007199254740993`, int64(9007199254740993), "int64"},
		{"largest int64", `9223372036854775807`, int64(math.MaxInt64), "int64"},
		{"2**70", `1180591620717411303424`, huge, "*big.Int"},
		{"empty text", `""`, "", "string"},
		{"text", `"abc"`, "abc", "string"},
		{"unicode", `"héllo ☃ 😀 \u0000 \u2028 \"\\/"`, "héllo ☃ 😀 \x00 \u2028 \"\\/", "string"},
		{"not HTML", `"<b>&amp;</b>"`, "<b>&amp;</b>", "string"},
		{"empty list", `[]`, []any{}, "[]interface {}"},
		{"empty object", `{}`, map[string]any{}, "map[string]interface {}"},
		{"list", `[1, 2.0, null, true, "x", [], {}]`,
			[]any{int64(1), 2.0, nil, true, "x", []any{}, map[string]any{}}, "[]interface {}"},
		{"nested", `{"a": {"b": [{"c": {"d": [[[0]]]}}]}, "é": null, "": ""}`,
			map[string]any{"a": map[string]any{"b": []any{map[string]any{"c": map[string]any{"d": []any{[]any{[]any{int64(0)}}}}}}}, "é": nil, "": ""},
			"map[string]interface {}"},
		{"1 MiB", `"` + mebibyte + `"`, mebibyte, "string"},
		{"1 MiB of lists", `[` + strings.Repeat(`0, `, 1<<18) + `0]`, make0(1<<18 + 1), "[]interface {}"},
	}
}

func make0(n int) []any {
	list := make([]any, n)
	for i := range list {
		list[i] = int64(0)
	}
	return list
}

// testGoSendsValues lets a Python server send each value back to a Go client.
func testGoSendsValues(t *testing.T, c *messaging.RPCClient) {
	for _, v := range values() {
		t.Run(v.name, func(t *testing.T) {
			var got any
			if err := c.Call(soon(t), "value", map[string]any{"v": v.want}, &got); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, v.want) {
				t.Errorf("got %T %s, want %T %s", got, short(got), v.want, short(v.want))
			}
			var echoed any
			if err := c.Call(soon(t), "echo", map[string]any{"a": v.want, "b": v.want}, &echoed); err != nil {
				t.Fatal(err)
			}
			if want := (map[string]any{"a": v.want, "b": v.want}); !reflect.DeepEqual(echoed, want) {
				t.Errorf("echo got %s, want %s", short(echoed), short(want))
			}
		})
	}
	t.Run("NaN and Infinity", func(t *testing.T) {
		var got any
		if err := c.Call(soon(t), "value", map[string]any{"v": []any{math.NaN(), math.Inf(1), math.Inf(-1)}}, &got); err != nil {
			t.Fatal(err)
		}
		list, ok := got.([]any)
		if !ok || len(list) != 3 || list[1] != math.Inf(1) || list[2] != math.Inf(-1) {
			t.Fatalf("got %v", got)
		}
		if f, ok := list[0].(float64); !ok || !math.IsNaN(f) {
			t.Errorf("got %v, want NaN", list[0])
		}
	})
	t.Run("no result", func(t *testing.T) {
		got := any("untouched")
		if err := c.Call(soon(t), "value", nil, &got); err != nil || got != nil {
			t.Errorf("got %v, %v", got, err)
		}
	})
}

// testPythonSendsValues lets a Go server send each value back to a Python client.
func testPythonSendsValues(t *testing.T, c *peertest.PythonClient, topic string) {
	for _, v := range values() {
		t.Run(v.name, func(t *testing.T) {
			args := map[string]any{"v": json.RawMessage(v.text)}
			reply, err := c.Call(soon(t), peertest.Request{Topic: topic, Method: "value", Args: args})
			if err != nil {
				t.Fatal(err)
			}
			if !sameJSON(t, reply.Result, []byte(v.text)) {
				t.Errorf("got %.200s, want %.200s", reply.Result, v.text)
			}
			reply, err = c.Call(soon(t), peertest.Request{Topic: topic, Method: "typeof", Args: args})
			if err != nil {
				t.Fatal(err)
			}
			if want, _ := json.Marshal(v.typ); !sameJSON(t, reply.Result, want) {
				t.Errorf("the handler sees a %s, want %s", reply.Result, want)
			}
		})
	}
	t.Run("NaN", func(t *testing.T) {
		reply, err := c.Call(soon(t), peertest.Request{Topic: topic, Method: "nan"})
		if err != nil || reply.Repr != "nan" {
			t.Errorf("got %+v, %v", reply, err)
		}
	})
}

// sameJSON tells whether two texts are the same value, where 1 and 1.0 are different.
func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	return reflect.DeepEqual(decodeJSON(t, a), decodeJSON(t, b))
}

// decodeJSON keeps numbers as they are written.
func decodeJSON(t *testing.T, text []byte) any {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var v any
	if err := decoder.Decode(&v); err != nil {
		t.Fatalf("not JSON: %.200q: %v", text, err)
	}
	return v
}

func short(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(text[:min(len(text), 200)])
}

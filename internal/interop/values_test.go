// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"encoding/json"
	"math"
	"math/big"
	"reflect"
	"strings"
	"testing"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/internal/pyjson"
)

// jsonValue is a value as text, as Go has it, and as the handlers of either language see it.
type jsonValue struct {
	name       string
	text       string
	want       any
	goType     string
	pythonType string
}

func plainValues() []jsonValue {
	return []jsonValue{
		{"None", `null`, nil, "<nil>", "NoneType"},
		{"False", `false`, false, "bool", "bool"},
		{"True", `true`, true, "bool", "bool"},
		{"0", `0`, int64(0), "int64", "int"},
		{"0.0", `0.0`, 0.0, "float64", "float"},
		{"1", `1`, int64(1), "int64", "int"},
		{"1.0", `1.0`, 1.0, "float64", "float"},
		{"-7", `-7`, int64(-7), "int64", "int"},
		{"2.5", `2.5`, 2.5, "float64", "float"},
		{"1e300", `1e+300`, 1e300, "float64", "float"},
		{"2**53+1", `9007199254740993`, int64(9007199254740993), "int64", "int"},
		{"largest int64", `9223372036854775807`, int64(math.MaxInt64), "int64", "int"},
		{"smallest int64", `-9223372036854775808`, int64(math.MinInt64), "int64", "int"},
		{"empty text", `""`, "", "string", "str"},
		{"text", `"abc"`, "abc", "string", "str"},
		{"unicode", `"héllo ☃ 😀 \u0000 \u2028 \"\\/"`, "héllo ☃ 😀 \x00 \u2028 \"\\/", "string", "str"},
		{"astral", `"\ud83d\ude00\ud834\udd1e"`, "😀𝄞", "string", "str"},
		{"not HTML", `"<b>&amp;</b>"`, "<b>&amp;</b>", "string", "str"},
		{"empty list", `[]`, []any{}, "[]interface {}", "list"},
		{"empty object", `{}`, map[string]any{}, "map[string]interface {}", "dict"},
		{"empties", `[[], {}, "", null, [[]], {"a": {}}]`,
			[]any{[]any{}, map[string]any{}, "", nil, []any{[]any{}}, map[string]any{"a": map[string]any{}}}, "[]interface {}", "list"},
		{"list", `[1, 1.0, 2.0, null, true, "x"]`, []any{int64(1), 1.0, 2.0, nil, true, "x"}, "[]interface {}", "list"},
		{"nested", `{"a": {"b": [{"c": {"d": [[[0]]]}}]}, "é": null, "": "", "a b": 1}`,
			map[string]any{"a": map[string]any{"b": []any{map[string]any{"c": map[string]any{"d": []any{[]any{[]any{int64(0)}}}}}}}, "é": nil, "": "", "a b": int64(1)},
			"map[string]interface {}", "dict"},
	}
}

func hugeValues() []jsonValue {
	huge := new(big.Int).Lsh(big.NewInt(1), 70)
	negative := new(big.Int).Neg(huge)
	return []jsonValue{
		{"2**63", `9223372036854775808`, new(big.Int).Lsh(big.NewInt(1), 63), "*big.Int", "int"},
		{"2**70", `1180591620717411303424`, huge, "*big.Int", "int"},
		{"-2**70", `-1180591620717411303424`, negative, "*big.Int", "int"},
		{"2**70 inside", `{"a": [1180591620717411303424]}`, map[string]any{"a": []any{huge}}, "map[string]interface {}", "dict"},
		{"2.0**70", `1.1805916207174113e+21`, math.Ldexp(1, 70), "float64", "float"},
	}
}

func mebibytes() []jsonValue {
	text := strings.Repeat("0123456789abcdef", 1<<16)
	flat, nested := make([]any, 1<<18), make([]any, 1<<17)
	for i := range flat {
		flat[i] = int64(0)
	}
	for i := range nested {
		nested[i] = []any{int64(0), map[string]any{}}
	}
	list := func(element string, n int) string {
		return "[" + strings.TrimSuffix(strings.Repeat(element+", ", n), ", ") + "]"
	}
	return []jsonValue{
		{"text", `"` + text + `"`, text, "string", "str"},
		{"text to escape", `"` + strings.Repeat(`\"\\é☃`, 1<<17) + `"`, strings.Repeat(`"\é☃`, 1<<17), "string", "str"},
		{"list", list("0", len(flat)), flat, "[]interface {}", "list"},
		{"nested lists", list("[0, {}]", len(nested)), nested, "[]interface {}", "list"},
	}
}

func testGoSendsValues(t *testing.T, p *peers) {
	goSendsAll(t, p, plainValues())
	t.Run("no result", func(t *testing.T) {
		got := any("untouched")
		if err := p.goClient.Call(soon(t), "value", nil, &got); err != nil || got != nil {
			t.Errorf("got %v, %v", got, err)
		}
	})
}

func testGoSendsHuge(t *testing.T, p *peers)         { goSendsAll(t, p, hugeValues()) }
func testGoSendsMebibyte(t *testing.T, p *peers)     { goSendsAll(t, p, mebibytes()) }
func testPythonSendsValues(t *testing.T, p *peers)   { pythonSendsAll(t, p, plainValues()) }
func testPythonSendsHuge(t *testing.T, p *peers)     { pythonSendsAll(t, p, hugeValues()) }
func testPythonSendsMebibyte(t *testing.T, p *peers) { pythonSendsAll(t, p, mebibytes()) }

// goSendsAll lets a Python server tell what it sees, and send each value back.
func goSendsAll(t *testing.T, p *peers, values []jsonValue) {
	for _, v := range values {
		t.Run(v.name, func(t *testing.T) {
			var got any
			if err := p.goClient.Call(soon(t), "echo", map[string]any{"v": v.want}, &got); err != nil {
				t.Fatal(err)
			}
			if want := (map[string]any{"v": v.want}); !reflect.DeepEqual(got, want) {
				t.Errorf("got %s, want %s", short(got), short(want))
			}
			if err := p.goClient.Call(soon(t), "typeof", map[string]any{"v": v.want}, &got); err != nil || got != v.pythonType {
				t.Errorf("the handler sees a %v, %v, want %s", got, err, v.pythonType)
			}
		})
	}
}

// pythonSendsAll lets a Go server tell what it sees, and send each value back: as it came, and
// decoded and encoded again.
func pythonSendsAll(t *testing.T, p *peers, values []jsonValue) {
	for _, v := range values {
		t.Run(v.name, func(t *testing.T) {
			args := map[string]any{"v": json.RawMessage(v.text)}
			for method, want := range map[string]string{"value": v.text, "echo": `{"v": ` + v.text + `}`, "typeof": `"` + v.goType + `"`} {
				reply, err := p.call(t, peertest.Request{Method: method, Args: args})
				if err != nil {
					t.Fatal(err)
				}
				if !sameJSON(t, reply.Result, []byte(want)) {
					t.Errorf("%s: got %.200s, want %.200s", method, reply.Result, want)
				}
			}
		})
	}
}

// sameJSON tells whether two texts are the same value, where 1 and 1.0 are different.
func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	return canonical(t, a) == canonical(t, b)
}

// canonical is the one text of a value, in the dialect of Python.
func canonical(t *testing.T, text []byte) string {
	t.Helper()
	c, err := pyjson.Encode(decodeJSON(t, text))
	if err != nil {
		t.Fatal(err)
	}
	return string(c)
}

func decodeJSON(t *testing.T, text []byte) any {
	t.Helper()
	v, err := pyjson.Decode(text)
	if err != nil {
		t.Fatalf("not JSON: %.200q: %v", text, err)
	}
	return v
}

func short(v any) string {
	text, err := pyjson.Encode(v)
	if err != nil {
		return err.Error()
	}
	return string(text[:min(len(text), 200)])
}

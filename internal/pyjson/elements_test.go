// SPDX-License-Identifier: Apache-2.0

package pyjson

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestElements(t *testing.T) {
	for _, tt := range []struct {
		text string
		want []string
	}{
		{`[]`, nil},
		{" [ ]\n", nil},
		{`[1]`, []string{"1"}},
		{"[ {\"a\": [1, 2]} ,\t\"]\" ,NaN , -Infinity,1180591620717411303424 ,[] ] ",
			[]string{`{"a": [1, 2]}`, `"]"`, "NaN", "-Infinity", "1180591620717411303424", "[]"}},
	} {
		elements, err := Elements(nil, []byte(tt.text), 6)
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
		}
		var got []string
		for _, e := range elements {
			got = append(got, string(e))
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.text, got, tt.want)
		}
	}
	for text, offset := range map[string]int{
		``: 0, `{}`: 0, `[`: 1, `[1`: 2, `[1,`: 3, `[1,]`: 3, `[1 2]`: 3, `[1]]`: 3, `[1}`: 2, `[,1]`: 1, `[1,2,3,4,5,6,7]`: 13,
		strings.Repeat("[", MaxDepth+1): MaxDepth,
	} {
		_, err := Elements(nil, []byte(text), 6)
		if syntax, ok := errors.AsType[*SyntaxError](err); !ok || syntax.Offset != offset {
			t.Errorf("%.10s: got %v, want an error at offset %d", text, err, offset)
		}
		if Valid([]byte(text)) == nil && text[0] == '[' && len(text) < 15 {
			t.Errorf("%.10s is valid", text)
		}
	}
}

func FuzzElements(f *testing.F) {
	seed(f)
	f.Add([]byte(` [ {"a": 1}, null ] `))
	f.Fuzz(func(t *testing.T, text []byte) {
		elements, err := Elements(nil, text, len(text))
		if trimmed := Trim(text); (err == nil) != (Valid(text) == nil && len(trimmed) > 0 && trimmed[0] == '[') {
			t.Fatalf("Elements says %v, Valid says %v", err, Valid(text))
		}
		for _, e := range elements {
			if Valid(e) != nil {
				t.Fatalf("element %q is not valid", e)
			}
		}
	})
}

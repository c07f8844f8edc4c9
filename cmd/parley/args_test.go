// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"math/big"
	"reflect"
	"strings"
	"testing"
)

func TestParseArgs(t *testing.T) {
	huge, _ := new(big.Int).SetString("12345678901234567890123", 10)
	tests := []struct {
		name  string
		args  []string
		stdin string
		want  map[string]any
	}{
		{"none", nil, "", map[string]any{}},
		{"text", []string{"a=b"}, "", map[string]any{"a": "b"}},
		{"empty text", []string{"a="}, "", map[string]any{"a": ""}},
		{"text with equals", []string{"a=b=c:=d"}, "", map[string]any{"a": "b=c:=d"}},
		{"text that looks like JSON", []string{"a=1"}, "", map[string]any{"a": "1"}},
		{"json", []string{"a:=1", "b:=1.0", `c:={"d":[true,null]}`}, "",
			map[string]any{"a": int64(1), "b": 1.0, "c": map[string]any{"d": []any{true, nil}}}},
		{"large integer", []string{"a:=12345678901234567890123"}, "", map[string]any{"a": huge}},
		{"colon in name", []string{"a:b=c"}, "", map[string]any{"a:b": "c"}},
		{"one colon is part of the sign", []string{"a::=1"}, "", map[string]any{"a:": int64(1)}},
		{"value with a dash", []string{"a=-"}, "", map[string]any{"a": "-"}},
		{"object", []string{`{"a": 1}`}, "", map[string]any{"a": int64(1)}},
		{"object after space", []string{` {"a": 1}`}, "", map[string]any{"a": int64(1)}},
		{"standard input", []string{"-"}, "{\"a\": \"b\"}\n", map[string]any{"a": "b"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseArgs(test.args, strings.NewReader(test.stdin))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %#v, want %#v", got, test.want)
			}
		})
	}
}

func TestParseArgsRefuses(t *testing.T) {
	tests := []struct {
		name    string
		args    []string
		stdin   string
		message string
	}{
		{"no sign", []string{"a"}, "", `"a" is not an argument`},
		{"no name", []string{"=a"}, "", `the argument "=a" has no name`},
		{"no name, JSON", []string{":=1"}, "", `the argument ":=1" has no name`},
		{"twice", []string{"a=1", "a:=2"}, "", `the argument "a" is given twice`},
		{"not JSON", []string{"a:=hello"}, "", `the value of "a" is not JSON`},
		{"no JSON", []string{"a:="}, "", `the value of "a" is not JSON`},
		{"broken object", []string{`{"a"`}, "", "the argument is not a JSON object"},
		{"object and more", []string{`{"a": 1}`, "b=c"}, "", "cannot be mixed"},
		{"standard input and more", []string{"a=b", "-"}, "", "cannot be mixed"},
		{"list on standard input", []string{"-"}, "[1]", "standard input is JSON, but not an object"},
		{"nothing on standard input", []string{"-"}, "", "standard input is not a JSON object"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := parseArgs(test.args, strings.NewReader(test.stdin))
			e, ok := errors.AsType[*usageError](err)
			if !ok || !strings.Contains(e.message, test.message) || e.hint == "" {
				t.Errorf("got %v, want a usage error with %q and a hint", err, test.message)
			}
		})
	}
}

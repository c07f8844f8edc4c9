// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleymq/parley/internal/pyjson"
)

func TestParsePayload(t *testing.T) {
	tests := []struct {
		name  string
		args  []string
		stdin string
		want  string // as JSON; empty for wrong usage
	}{
		{"none", nil, "", `{}`},
		{"pairs", []string{"id=7", "n:=2"}, "", `{"id": "7", "n": 2}`},
		{"object", []string{`{"a": [1]}`}, "", `{"a": [1]}`},
		{"text", []string{"=disk full=yes"}, "", `"disk full=yes"`},
		{"empty text", []string{"="}, "", `""`},
		{"value", []string{":=[1, null]"}, "", `[1, null]`},
		{"standard input", []string{"-"}, " 5\n", `5`},
		{"two values", []string{":=1", ":=2"}, "", ""},
		{"a word", []string{"disk"}, "", ""},
		{"no JSON", []string{":=x"}, "", ""},
		{"no JSON on standard input", []string{"-"}, "x", ""},
		{"nothing on standard input", []string{"-"}, "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			v, err := parsePayload(test.args, strings.NewReader(test.stdin))
			if test.want == "" {
				if _, usage := errors.AsType[*usageError](err); !usage {
					t.Errorf("got %v, %v", v, err)
				}
				return
			}
			want, wantErr := pyjson.Decode([]byte(test.want))
			if err != nil || wantErr != nil || !reflect.DeepEqual(v, want) {
				t.Errorf("got %#v, %v, want %#v", v, err, want)
			}
		})
	}
}

func TestReadPayloads(t *testing.T) {
	var got []payloadLine
	for l := range readPayloads(t.Context(), strings.NewReader("1\n\n \t\n{\"a\": 2}\r\n\"end\"")) {
		got = append(got, l)
	}
	want := []payloadLine{{payload: int64(1), number: 1}, {payload: map[string]any{"a": int64(2)}, number: 4}, {payload: "end", number: 5}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %#v, want %#v", got, want)
	}
}

// TestReadPayloadsEndsAtTheFirstBadLine: what is behind it is not sent.
func TestReadPayloadsEndsAtTheFirstBadLine(t *testing.T) {
	sent, last := 0, 0
	err := sendLines(t.Context(), readPayloads(t.Context(), strings.NewReader("1\nx\n3\n")), func(l payloadLine) { sent, last = sent+1, l.number })
	if last != 1 || sent != 1 || err == nil || !strings.Contains(err.Error(), "line 2 of standard input") || exitStatus(err) != exitUsage {
		t.Errorf("got %d, %d, %v", last, sent, err)
	}
}

// TestReadPayloadsEndsWithItsContext: nobody takes the lines any more.
func TestReadPayloadsEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	lines := readPayloads(ctx, r)
	if _, err := io.WriteString(w, "1\n"); err != nil {
		t.Fatal(err)
	}
	if l := <-lines; l.payload != int64(1) {
		t.Errorf("got %+v", l)
	}
	cancel()
	if err := sendLines(ctx, lines, func(l payloadLine) { t.Errorf("got %+v", l) }); err != nil {
		t.Error(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for range lines { // closed by the goroutine that reads
	}
}

// TestEmptied: a spool is waited for as long as it gets emptier.
func TestEmptied(t *testing.T) {
	tests := []struct {
		name  string
		each  time.Duration // from one that is sent to the next; 0 is never
		limit time.Duration
		want  time.Duration
	}{
		{"it is sent", time.Second, time.Minute, 5 * time.Second},
		{"nothing is sent", 0, time.Minute, spoolPatience},
		{"too slow", 2 * time.Second, 5 * time.Second, 5 * time.Second},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				emptied(t.Context(), test.limit, func() int {
					if test.each == 0 {
						return 5
					}
					return max(0, 5-int(time.Since(begin)/test.each))
				})
				if took := time.Since(begin); (took - test.want).Abs() > 2*spoolLook {
					t.Errorf("it took %v, want %v", took, test.want)
				}
			})
		})
	}
}

func FuzzShownText(f *testing.F) {
	for _, seed := range []string{"", "compute.host1", "a b", "\x1b[31m", "\u202e", "\xff", "\u009b", `"`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if shown := shownText(s); shown == "" || strings.ContainsFunc(shown, unsafeRune) {
			t.Errorf("%q is shown as %q", s, shown)
		}
	})
}

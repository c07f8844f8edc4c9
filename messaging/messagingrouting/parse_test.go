// SPDX-License-Identifier: Apache-2.0

package messagingrouting_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/messaging/messagingrouting"
)

// upstreams is the file of upstream's tests (oslo_messaging/tests/notify/test_notifier.py), written
// as YAML.
const upstreams = `
group_1:
  rpc:
    accepted_events:
      - foo.*
      - blah.zoo.*
      - zip
  rpc2:
    accepted_priorities: [info, WARN]
group_2:
  rpc: {}
  log:
    accepted_events: ["*.end"]
    accepted_priorities: [err*]
`

func TestMatch(t *testing.T) {
	for name, tc := range map[string]struct {
		text, event string
		priority    messaging.Priority
		want        []string
	}{
		"no rules take everything":       {"g: {a: {}}", "x", "sample", []string{"a"}},
		"no groups take nothing":         {"{}", "x", "info", nil},
		"nor does an empty file":         {"# nothing\n", "x", "info", nil},
		"nor a group without outlets":    {"g: {}", "x", "info", nil},
		"nor an empty list":              {"g: {a: {accepted_events: []}}", "x", "info", nil},
		"an empty list of priorities":    {"g: {a: {accepted_priorities: []}}", "x", "info", nil},
		"event fits":                     {"g: {a: {accepted_events: [foo.*]}}", "foo.bar", "info", []string{"a"}},
		"event does not":                 {"g: {a: {accepted_events: [foo.*]}}", "blah", "info", nil},
		"patterns are whole":             {"g: {a: {accepted_events: [foo]}}", "foo.bar", "info", nil},
		"case of events matters":         {"g: {a: {accepted_events: [foo]}}", "FOO", "info", nil},
		"one of several":                 {"g: {a: {accepted_events: [foo, 'b?r']}}", "bar", "info", []string{"a"}},
		"priority fits":                  {"g: {a: {accepted_priorities: [INFO]}}", "x", "info", []string{"a"}},
		"priority does not":              {"g: {a: {accepted_priorities: [INFO]}}", "x", "error", nil},
		"pattern of priorities":          {"g: {a: {accepted_priorities: ['[de]*']}}", "x", "debug", []string{"a"}},
		"both must":                      {"g: {a: {accepted_events: [x], accepted_priorities: [info]}}", "x", "info", []string{"a"}},
		"event alone does not do":        {"g: {a: {accepted_events: [x], accepted_priorities: [info]}}", "x", "warn", nil},
		"priority alone does not do":     {"g: {a: {accepted_events: [x], accepted_priorities: [info]}}", "y", "info", nil},
		"groups are or":                  {"g: {a: {accepted_events: [x]}}\nh: {a: {accepted_events: [y]}}", "y", "info", []string{"a"}},
		"two groups, once":               {"g: {a: {}}\nh: {a: {}, b: {}}", "y", "info", []string{"a", "b"}},
		"order is the file's":            {"g: {z: {}, a: {}}\nh: {m: {}, a: {}}", "y", "info", []string{"z", "a", "m"}},
		"aliases":                        {"g: {a: &r {accepted_events: [x]}, b: *r}", "x", "info", []string{"a", "b"}},
		"merge":                          {"g: &g {a: {}}\nh: {<<: *g, b: {}}", "x", "info", []string{"a", "b"}},
		"own wins over merged":           {"g: {a: &r {accepted_events: [x]}}\nh: {b: {<<: *r, accepted_events: [y]}}", "x", "info", []string{"a"}},
		"first merged wins":              {"g: {a: &r {accepted_events: [x]}, b: &s {accepted_events: [y]}}\nh: {c: {<<: [*r, *s]}}", "y", "info", []string{"b"}},
		"JSON is YAML":                   {`{"g": {"a": {"accepted_events": ["x"]}}}`, "x", "info", []string{"a"}},
		"a group's name may be a number": {"1: {a: {}}", "x", "info", []string{"a"}},
		"upstream's, both groups":        {upstreams, "foo.end", "error", []string{"rpc", "log"}},
		"upstream's, by priority":        {upstreams, "foo.end", "info", []string{"rpc", "rpc2"}},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := messagingrouting.Parse("f", tc.text)
			if err != nil {
				t.Fatal(err)
			}
			if got := r.Match(tc.event, tc.priority); !slices.Equal(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"a rule nobody knows":         {"g:\n  a:\n    accepted_event: [x]", `f:3: group "g", outlet "a", accepted_event: there is no such rule; the rules are accepted_events and accepted_priorities`},
		"a list of groups":            {"- g", "f:1: the file is a list; it is a mapping of groups"},
		"text":                        {"g", "f:1: the file is text"},
		"a group that is a list":      {"g:\n- a", `f:2: group "g" is a list`},
		"a group that is empty":       {"x: {}\ng:\n", `f:2: group "g" is empty; is an indentation missing?`},
		"an outlet that is empty":     {"g:\n  a:\n", `f:2: group "g", outlet "a" is empty; is an indentation missing? it is a mapping of rules, or {} for none`},
		"an outlet that is a list":    {"g: {a: [x]}", `f:1: group "g", outlet "a" is a list`},
		"an outlet that is a number":  {"g: {7: {}}", `f:1: group "g": the name of an outlet is not text`},
		"patterns that are text":      {"g:\n  a:\n    accepted_events: foo", `f:3: group "g", outlet "a", accepted_events is text, not a list of patterns; write it as a list`},
		"patterns that are empty":     {"g:\n  a:\n    accepted_events:", "accepted_events is empty, not a list"},
		"a pattern that is a number":  {"g:\n  a:\n    accepted_events:\n    - x\n    - 7", `f:5: group "g", outlet "a", accepted_events: an item is a int, not text`},
		"a pattern that is a list":    {"g: {a: {accepted_events: [[x]]}}", "an item is a list, not text"},
		"a pattern that is null":      {"g: {a: {accepted_events: [~]}}", "an item is empty, not text"},
		"an empty pattern":            {"g: {a: {accepted_events: ['']}}", "a pattern is empty"},
		"a long pattern":              {"g: {a: {accepted_events: [" + strings.Repeat("x", 1025) + "]}}", "longer than 1024 bytes"},
		"a set that is not closed":    {"g: {a: {accepted_events: ['a[b']}}", `"a[b" has a "[" that is not closed; "[[]" fits a "["`},
		"a range from high to low":    {"g: {a: {accepted_events: ['[z-a]']}}", `has a range from high to low`},
		"a priority nobody has":       {"g: {a: {accepted_priorities: [infoo]}}", `"infoo" fits no priority; there are audit, debug`},
		"a priority of another name":  {"g: {a: {accepted_priorities: [Warning]}}", `"Warning" fits no priority; write warn`},
		"an outlet twice":             {"g:\n  a: {}\n  b: {}\n  a: {}", `f:4: group "g": "a" is there twice, first in line 2`},
		"a group twice":               {"g: {}\ng: {}", `f:2: the file: "g" is there twice, first in line 1`},
		"a rule twice":                {"g: {a: {accepted_events: [x], accepted_events: [y]}}", "is there twice"},
		"two documents":               {"g: {}\n---\ng: {}", "f:2: a second document begins"},
		"a star without quotes":       {"g:\n  a:\n    accepted_events:\n    - *.end", `must be quoted`},
		"an anchor nobody set":        {"g:\n  a: *b\n", `must be quoted`},
		"a tab":                       {"g:\n\ta: {}", "f:2: the file is not YAML"},
		"not UTF-8":                   {"g: {a\xff: {}}", "f: the file is not UTF-8"},
		"binary":                      {"\x00\x01", "the file is not YAML"},
		"a key that is a list":        {"[a]: {}", "f:1: the file: a key is a list, not text"},
		"a merge of text":             {"g: {<<: x}", "what is merged in is text"},
		"too large":                   {strings.Repeat(" ", messagingrouting.MaxFileSize+1), "larger than 1048576 bytes"},
		"too much":                    {"g: {a: {accepted_events: [" + strings.Repeat("x,", 30000) + "]}}", "more than 20000 keys and values"},
		"aliases that stand for many": {bomb(), "more than 20000 keys and values"},
		"merges that stand for many":  {mergeBomb(), "more than 20000 keys and values"},
		"an alias of itself":          {"g: &g {a: *g}", ""},
		"a merge of itself":           {"g: &g {<<: *g}", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := messagingrouting.Parse("f", tc.text)
			if err == nil || r != nil || !errors.Is(err, messaging.ErrConfig) {
				t.Fatalf("got %v, %v", r, err)
			}
			if !strings.Contains(err.Error(), tc.want) || !strings.HasPrefix(err.Error(), "f:") {
				t.Errorf("got  %s\nwant %s", err, tc.want)
			}
		})
	}
}

// bomb is a file whose aliases double eighteen times.
func bomb() string {
	var b strings.Builder
	b.WriteString("a0: &a0 {accepted_events: [x]}\n")
	for i := range 18 {
		fmt.Fprintf(&b, "a%d: &a%d {x: *a%d, y: *a%d}\n", i+1, i+1, i, i)
	}
	b.WriteString("g: {")
	for i := range 9000 {
		fmt.Fprintf(&b, "b%d: *a0, ", i)
	}
	return b.String() + "}"
}

func mergeBomb() string {
	var b strings.Builder
	b.WriteString("a0: &a0 {b: {}}\n")
	for i := range 18 {
		fmt.Fprintf(&b, "a%d: &a%d {<<: [*a%d, *a%d]}\n", i+1, i+1, i, i)
	}
	return b.String()
}

func TestParseTellsAllProblems(t *testing.T) {
	var text strings.Builder
	for i := range 15 {
		fmt.Fprintf(&text, "g%d: []\n", i)
	}
	_, err := messagingrouting.Parse("f", text.String())
	if err == nil {
		t.Fatal("it was taken")
	}
	if lines := strings.Split(err.Error(), "\n"); len(lines) != 11 || lines[10] != "f: 5 more problems" || !strings.HasPrefix(lines[9], "f:10: ") {
		t.Errorf("got %s", err)
	}
}

// FuzzParse looks that no file panics, and that what is taken answers.
func FuzzParse(f *testing.F) {
	for _, text := range []string{upstreams, "", "{}", "g: {a: &x {accepted_events: ['*']}, b: *x}", "g: &g {<<: *g}", "a: [", "? [a]\n: b", "g: {a: {accepted_priorities: ['[!i]*']}}",
		"%YAML 1.1\n---\ng: !!map {}", "g: {a: {accepted_events: [!!binary x]}}", bomb(), mergeBomb()} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := messagingrouting.Parse("f", text)
		if (r == nil) == (err == nil) {
			t.Fatalf("got %v, %v", r, err)
		}
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f:") || !errors.Is(err, messaging.ErrConfig) {
				t.Errorf("got %q", err)
			}
			return
		}
		for _, p := range messaging.Priorities() {
			if got := r.Match("compute.instance.create.end", p); len(got) > len(r.Outlets()) {
				t.Errorf("%v of %v", got, r.Outlets())
			}
		}
	})
}

// TestOpenNamesFileAndLine has the errors of the first reading.
func TestOpenNamesFileAndLine(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "routes.yaml")
	for name, tc := range map[string]struct{ text, want string }{
		"an outlet nobody knows": {"g:\n  messaging: {}\n  kafka: {}", path + `:3: nobody knows the outlet "kafka"; there are messaging, messagingv2, log, noop, billing`},
		"routing to itself":      {"g: {routing: {}}", `nobody knows the outlet "routing"`},
		"a wrong file":           {"g:\n  messaging: []\n", path + ":2: "},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, []byte(tc.text), 0o600); err != nil {
				t.Fatal(err)
			}
			opts := &messagingrouting.Options{Outlets: map[string]messaging.Outlet{"billing": messaging.NoopOutlet()}}
			r, err := messagingrouting.Open(path, opts)
			if r != nil || !errors.Is(err, messaging.ErrConfig) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, %v, want %s", r, err, tc.want)
			}
		})
	}
	if r, err := messagingrouting.Open(filepath.Join(dir, "missing"), nil); r != nil || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v, %v", r, err)
	}
	if r, err := messagingrouting.Open(dir, nil); r != nil || !errors.Is(err, messaging.ErrConfig) {
		t.Errorf("a directory: %v, %v", r, err)
	}
}

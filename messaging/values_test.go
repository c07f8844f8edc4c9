// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

func TestCompatible(t *testing.T) {
	tests := []struct {
		implemented, requested string
		want                   bool
	}{
		{"", "1.0", true}, {"", "", true}, {"1.0", "", false},
		{"1.0", "1.0", true}, {"1.1", "1.0", true}, {"1.0", "1.1", false},
		{"2.0", "1.0", false}, {"1.0", "2.0", false},
		{"1.10", "1.9", true}, {"1.9", "1.10", false},
		{"1.1.1", "1.1", true}, {"1.1", "1.1.1", false}, {"1.1.0", "1.1", true},
		{"1.2", "1.1.9", true}, {"1.1.2", "1.1.10", false}, {"01.2", "1.02", true},
		{"1", "1.0", false}, {"1.0", "x", false}, {"1.0", "1.0.0.0", false},
		{"1.0", "1.-1", false}, {"1.0", "1.99999999999999999999", false}, {"1.0", "1.+0", false},
	}
	for _, tt := range tests {
		if got := Compatible(tt.implemented, tt.requested); got != tt.want {
			t.Errorf("Compatible(%q, %q) = %v", tt.implemented, tt.requested, got)
		}
	}
}

func TestNewest(t *testing.T) {
	tests := []struct{ target, since, want string }{
		{"", "", ""}, {"2.0", "", "2.0"}, {"", "2.3", "2.3"}, {"2.0", "2.3", "2.3"},
		{"2.5", "2.3", "2.5"}, {"2.3", "2.3.1", "2.3.1"}, {"2.0", "3.0", "!"}, {"2.0", "x", "!"},
	}
	for _, tt := range tests {
		got, err := newest(tt.target, tt.since)
		if err != nil {
			got = "!"
		}
		if got != tt.want {
			t.Errorf("newest(%q, %q) = %q, %v", tt.target, tt.since, got, err)
		}
	}
}

func TestErrorsByReason(t *testing.T) {
	want := map[driver.Reason]error{
		driver.ReasonNotConnected: ErrUnavailable, driver.ReasonAuthRefused: ErrUnavailable,
		driver.ReasonTLSFailed: ErrUnavailable, driver.ReasonVirtualHostMissing: ErrUnavailable,
		driver.ReasonNoRoute: ErrUndeliverable, driver.ReasonPrecondition: ErrRefused,
		driver.ReasonAccessRefused: ErrRefused, driver.ReasonBrokerBlocked: ErrUnavailable,
		driver.ReasonMessageTooLarge: ErrTooLarge, driver.ReasonExpired: ErrExpired,
		driver.ReasonCancelled: ErrClosed, driver.ReasonUnsupported: ErrUnsupported,
		driver.ReasonConfig: ErrConfig, driver.ReasonClosed: ErrClosed,
		driver.ReasonDriverGone: ErrUnavailable, driver.ReasonDriverBug: ErrInternal,
		driver.ReasonProtocol: ErrInternal, driver.ReasonInternal: ErrInternal,
	}
	op := operation{"call", "m", Target{Topic: "t"}}
	for _, r := range driver.Reasons() {
		cause := driver.Errorf(r, "it broke").WithHint("mend it")
		err := op.wrap(cause)
		if !errors.Is(err, want[r]) || !errors.Is(err, &driver.Error{Reason: r}) {
			t.Errorf("%s: %v", r, err)
		}
		if got := err.Error(); got != "call m <topic=t>: it broke; mend it" {
			t.Errorf("%s: text %q", r, got)
		}
		doubtful := *cause
		doubtful.InDoubt = true
		if err := op.wrap(&doubtful); !errors.Is(err, ErrInDoubt) || errors.Is(err, want[r]) {
			t.Errorf("%s in doubt: %v", r, err)
		}
	}
	for _, err := range []error{nil, context.Canceled, context.DeadlineExceeded} {
		if got := op.wrap(err); got != err {
			t.Errorf("%v became %v", err, got)
		}
	}
	if !errors.Is(ErrNoReply, context.DeadlineExceeded) || !errors.Is(&Error{Code: CodeNoReply}, context.DeadlineExceeded) {
		t.Error("ErrNoReply is not context.DeadlineExceeded")
	}
	if errors.Is(ErrClosed, context.DeadlineExceeded) || errors.Is(ErrNoReply, ErrClosed) {
		t.Error("sentinels match too much")
	}
	if CodeOf(fmt.Errorf("x: %w", &Error{Code: CodeConfig})) != CodeConfig || CodeOf(ErrClosed) != CodeClosed || CodeOf(fs.ErrExist) != "" {
		t.Error("CodeOf")
	}
}

type myError struct{ n int }

func (e *myError) Error() string { return fmt.Sprint("my error ", e.n) }

func TestFailureEncoding(t *testing.T) {
	sentinelErr := &RemoteError{Module: "nova.exception", Class: "InstanceNotFound"}
	tests := []struct {
		name string
		err  error
		want string
	}{
		{"a sentinel", sentinelErr, `{"args": [], "class": "InstanceNotFound", "kwargs": {}, "message": "", "module": "nova.exception", "tb": []}`},
		{"with a text", sentinelErr.Withf("no %d", 1), `{"args": ["no 1"], "class": "InstanceNotFound", "kwargs": {}, "message": "no 1", "module": "nova.exception", "tb": []}`},
		{"wrapped", fmt.Errorf("start: %w", sentinelErr), `{"args": ["start: nova.exception.InstanceNotFound"], "class": "InstanceNotFound", "kwargs": {}, "message": "start: nova.exception.InstanceNotFound", "module": "nova.exception", "tb": []}`},
		{"expected", Expected(sentinelErr), `{"args": [], "class": "InstanceNotFound", "kwargs": {}, "message": "", "module": "nova.exception", "tb": []}`},
		{"a Go type", &myError{3}, `{"args": ["my error 3"], "class": "myError", "kwargs": {}, "message": "my error 3", "module": "github.com/parleymq/parley/messaging", "tb": []}`},
		{"a Go type, wrapped", fmt.Errorf("a: %w", &myError{3}), `{"args": ["a: my error 3"], "class": "myError", "kwargs": {}, "message": "a: my error 3", "module": "github.com/parleymq/parley/messaging", "tb": []}`},
		{"errors.New", errors.New("x"), `{"args": ["x"], "class": "errorString", "kwargs": {}, "message": "x", "module": "errors", "tb": []}`},
		{
			"passed on", &RemoteError{Module: "m_Remote", Class: "C_Remote_Remote", Message: "x", Args: []any{int64(2), "no"}, Kwargs: map[string]any{"code": 404}, Traceback: []string{"line\n"}},
			`{"args": [2, "no"], "class": "C", "kwargs": {"code": 404}, "message": "x", "module": "m", "tb": ["line\n"]}`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			raw, err := new(codec).failure(toRemote(tt.err))
			if err != nil || string(raw) != tt.want {
				t.Errorf("%v\n got %s\nwant %s", err, raw, tt.want)
			}
			if back := decodeFailure(raw); !errors.Is(back, decodeFailure([]byte(tt.want))) {
				t.Errorf("decoded to %#v", back)
			}
		})
	}
	if Expected(nil) != nil {
		t.Error("Expected(nil) is not nil")
	}
}

func TestDecodeFailure(t *testing.T) {
	tests := []struct {
		raw  string
		want RemoteError
	}{
		{`{"class":"ValueError","module":"builtins","message":"bad","tb":["a\n","b\n"],"args":["bad",1],"kwargs":{"k":1}}`,
			RemoteError{Module: "builtins", Class: "ValueError", Message: "bad", Traceback: []string{"a\n", "b\n"}, Args: []any{"bad", int64(1)}, Kwargs: map[string]any{"k": int64(1)}}},
		{`{"class":"X_Remote","module":"m_Remote","message":null,"tb":null,"args":null,"kwargs":null}`, RemoteError{Module: "m", Class: "X"}},
		{`{"class":"KeyError","module":"exceptions","message":{"a":1},"tb":"one text"}`,
			RemoteError{Module: "builtins", Class: "KeyError", Message: `{"a": 1}`, Traceback: []string{"one text"}}},
		{`"{\"class\":\"E\",\"module\":\"m\",\"message\":\"x\"}"`, RemoteError{Module: "m", Class: "E", Message: "x"}},
		{`{}`, RemoteError{}},
		{`[1]`, RemoteError{Message: "unreadable failure: [1]"}},
		{`"plain text"`, RemoteError{Message: `unreadable failure: "plain text"`}},
		{"{\xff", RemoteError{Message: "unreadable failure: {\uFFFD"}},
		{`{"message":NaN,"args":[NaN]}`, RemoteError{Message: "NaN", Args: []any{math.NaN()}}},
	}
	for _, tt := range tests {
		got := decodeFailure([]byte(tt.raw))
		if fmt.Sprintf("%#v", *got) != fmt.Sprintf("%#v", tt.want) {
			t.Errorf("%s:\n got %#v\nwant %#v", tt.raw, *got, tt.want)
		}
	}
	if got := decodeFailure([]byte(strings.Repeat("x", 10000))); len(got.Message) > 600 {
		t.Errorf("an unreadable failure of %d bytes", len(got.Message))
	}
}

func FuzzDecodeFailure(f *testing.F) {
	for _, s := range []string{
		`{"class":"ValueError","module":"builtins","message":"bad","tb":["a\n"],"args":["bad",1],"kwargs":{"k":1}}`,
		`"{\"class\":\"E\"}"`, `{}`, `[]`, `null`, `"`, `{"class":"_Remote_Remote"}`, `{"message":1e999,"args":[[[]]]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		e := decodeFailure(raw)
		encoded, err := new(codec).failure(e)
		if err != nil {
			t.Fatalf("%q decoded to %#v, which does not encode: %v", raw, e, err)
		}
		again := decodeFailure(encoded)
		if !errors.Is(again, e) || again.Message != strings.ToValidUTF8(e.Message, "\uFFFD") || len(again.Traceback) != len(e.Traceback) {
			t.Fatalf("%q: %#v became %#v", raw, e, again)
		}
	})
}

func TestRemoteErrorIs(t *testing.T) {
	e := &RemoteError{Module: "m", Class: "C", Message: "x"}
	for other, want := range map[*RemoteError]bool{
		{Module: "m", Class: "C", Message: "other"}: true, {Module: "n", Class: "C"}: false, {Module: "m", Class: "D"}: false,
	} {
		if errors.Is(fmt.Errorf("wrapped: %w", e), other) != want {
			t.Errorf("%v is %v: %v", e, other, !want)
		}
	}
}

func TestRemoteErrorText(t *testing.T) {
	for want, e := range map[string]*RemoteError{
		"nova.exception.X: gone": {Module: "nova.exception", Class: "X", Message: "gone"},
		"ValueError: bad":        {Module: "builtins", Class: "ValueError", Message: "bad"},
		"m.X":                    {Module: "m", Class: "X"},
		"text":                   {Message: "text"},
	} {
		if e.Error() != want {
			t.Errorf("%q, want %q", e.Error(), want)
		}
	}
}

func TestRequestBody(t *testing.T) {
	big70 := new(big.Int).Lsh(big.NewInt(1), 70)
	tests := []struct {
		args               any
		namespace, version string
		want               string // or the error after "!"
	}{
		{nil, "", "", `{"method":"m","args":{}}`},
		{struct{}{}, "", "2.0", `{"method":"m","args":{},"version":"2.0"}`},
		{map[string]any(nil), "", "", `{"method":"m","args":{}}`},
		{(*benchArgs)(nil), "", "", `{"method":"m","args":{}}`},
		{benchArgs{"<a>", 1}, "n", "1.0", `{"method":"m","args":{"id":"<a>","size":1},"namespace":"n","version":"1.0"}`},
		{&benchArgs{"a", 1}, "", "", `{"method":"m","args":{"id":"a","size":1}}`},
		{map[string]any{"b": 1.0, "a": big70}, "", "", `{"method":"m","args":{"a": 1180591620717411303424, "b": 1.0}}`},
		{map[string]any{"b": math.NaN()}, "", "", `{"method":"m","args":{"b": NaN}}`},
		{map[string]any{"b": benchArgs{"x", 2}}, "", "", `{"method":"m","args":{"b":{"id":"x","size":2}}}`},
		{map[string]int{"b": 1}, "", "", `{"method":"m","args":{"b":1}}`},
		{json.RawMessage(` {"a": Infinity} `), "", "", `{"method":"m","args": {"a": Infinity} }`},
		{json.RawMessage(nil), "", "", `{"method":"m","args":{}}`},
		{json.RawMessage(`{"a"`), "", "", "!offset"},
		{[]any{1}, "", "", "!not a JSON object"},
		{"text", "", "", "!not a JSON object"},
		{7, "", "", "!not a JSON object"},
		{map[string]any{"f": func() {}}, "", "", "!unsupported type"},
		{make(chan int), "", "", "!unsupported type"},
	}
	c := new(codec)
	for _, tt := range tests {
		got, err := c.request("m", tt.args, tt.namespace, tt.version)
		if wanted, fails := strings.CutPrefix(tt.want, "!"); fails {
			if err == nil || !strings.Contains(err.Error(), wanted) {
				t.Errorf("%#v: %s, %v, want %q", tt.args, got, err, wanted)
			}
			continue
		}
		if err != nil || string(got) != tt.want {
			t.Errorf("%#v:\n got %s, %v\nwant %s", tt.args, got, err, tt.want)
		}
	}
	if got, err := c.request("ü\"\n", nil, "", ""); err != nil || string(got) != `{"method":"ü\"\n","args":{}}` {
		t.Errorf("%s, %v", got, err)
	}
}

func TestParseRequest(t *testing.T) {
	tests := []struct{ body, want string }{
		{`{"method":"m"}`, "m   {}"},
		{`{"method": "m", "args": {"a": [1, NaN]}, "namespace": "n", "version": "1.2", "other": {}}`, `m n 1.2 {"a": [1, NaN]}`},
		{`{"method":"m","args":null,"namespace":null,"version":null}`, "m   {}"},
		{`{"method":"a","method":"b"}`, "b   {}"},
		{`{"m\u0065thod":"\u00fc\n"}`, "ü\n   {}"},
		{"{\"method\":\"\xff\"}", "\uFFFD   {}"},
		{`{"args":{}}`, "!no method"}, {`{"method":null}`, "!no method"}, {`{"method":7}`, "!not a string"},
		{`{"method":"m","args":[]}`, "!not an object"}, {`{"method":"m","args":"x"}`, "!not an object"},
		{`{"method":"m","version":1.0}`, "!version is not a string"},
		{`[]`, "!want an object"}, {``, "!want an object"}, {`{"method":"m"`, "!end"},
	}
	for _, tt := range tests {
		r, err := parseRequest([]byte(tt.body))
		got := fmt.Sprintf("%s %s %s %s", r.method, r.namespace, r.version, r.args)
		if wanted, fails := strings.CutPrefix(tt.want, "!"); fails {
			if err == nil || !strings.Contains(err.Error(), wanted) {
				t.Errorf("%s: %v, want %q", tt.body, err, wanted)
			}
		} else if err != nil || got != tt.want {
			t.Errorf("%s: %q, %v", tt.body, got, err)
		}
	}
}

func TestDecodeInto(t *testing.T) {
	var (
		anything any
		object   map[string]any
		list     []any
		raw      json.RawMessage
		number   int
		text     string
		typed    benchArgs
	)
	const huge = "1180591620717411303424"
	tests := []struct {
		raw  string
		into any
		want string // %v of what it decoded to, or the error after "!"
	}{
		{`[1, 1.0, 9007199254740993, ` + huge + `, NaN, null]`, &anything, "[1 1 9007199254740993 " + huge + " NaN <nil>]"},
		{`{"a": 1}`, &object, "map[a:1]"}, {`null`, &object, "map[]"}, {`[]`, &object, "!a list does not fit"},
		{`[1]`, &list, "[1]"}, {`7`, &list, "!a number does not fit"}, {"", &anything, "<nil>"},
		{`{"x": NaN}`, &raw, `{"x": NaN}`}, {`3`, &number, "3"}, {`"x"`, &number, "!cannot unmarshal"},
		{`"x"`, &text, "x"}, {`{"id":"i","size":2,"more":1}`, &typed, "{i 2}"},
		{`{"size":NaN}`, &typed, "!NaN or Infinity"}, {`{`, &typed, "!unexpected end"}, {`5`, &struct{}{}, "{}"},
	}
	for _, tt := range tests {
		err := decodeInto([]byte(tt.raw), tt.into)
		if wanted, fails := strings.CutPrefix(tt.want, "!"); fails {
			if err == nil || !strings.Contains(err.Error(), wanted) {
				t.Errorf("%s into %T: %v, want %q", tt.raw, tt.into, err, wanted)
			}
			continue
		}
		got := fmt.Sprintf("%v", reflect.ValueOf(tt.into).Elem().Interface())
		if r, ok := tt.into.(*json.RawMessage); ok {
			got = string(*r)
		}
		if err != nil || got != tt.want {
			t.Errorf("%s into %T: %s, %v", tt.raw, tt.into, got, err)
		}
	}
	if err := decodeInto([]byte("5"), nil); err != nil {
		t.Error(err)
	}
	for _, bad := range []any{7, benchArgs{}, (*benchArgs)(nil), map[string]any{}} {
		if checkPointer(bad) == nil {
			t.Errorf("%T passed as a reply", bad)
		}
	}
}

func TestArgumentNames(t *testing.T) {
	type Inner struct{ Deep int }
	type args struct {
		Inner
		Plain  int
		Tagged int `json:"tagged,omitempty"`
		Empty  int `json:",omitempty"`
		Hidden int `json:"-"`
		Dash   int `json:"-,"` //nolint:staticcheck // a name that looks like a mistake is what is tested
		secret int
	}
	_ = args{}.secret
	got := argumentNames(reflect.TypeFor[*args]())
	want := map[string]struct{}{"Deep": {}, "Plain": {}, "tagged": {}, "Empty": {}, "-": {}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("names %v, want %v", got, want)
	}
	for _, free := range []reflect.Type{reflect.TypeFor[map[string]int](), reflect.TypeFor[json.RawMessage](), reflect.TypeFor[time.Time](), reflect.TypeFor[any]()} {
		if argumentNames(free) != nil {
			t.Errorf("%s has argument names", free)
		}
	}
}

func TestIDs(t *testing.T) {
	seen := make(map[string]bool)
	check := func(id string) {
		t.Helper()
		if len(id) != 32 || id[12] != '4' || !strings.ContainsRune("89ab", rune(id[16])) || strings.Trim(id, "0123456789abcdef") != "" || seen[id] {
			t.Fatalf("id %q", id)
		}
		seen[id] = true
	}
	for range 1000 {
		check(newID())
		a, b := newIDs()
		check(a)
		check(b)
	}
}

func TestRedacted(t *testing.T) {
	type user struct {
		Name     string `json:"name"`
		Password string `json:"password"`
	}
	tests := []struct {
		v    any
		want string
	}{
		{map[string]any{"auth_token": "S", "a": []any{map[string]any{"new-Pass": "S", "b": 1}}}, `{"a": [{"b": 1, "new-Pass": "***"}], "auth_token": "***"}`},
		{json.RawMessage(`{"adminPass":"S","x":NaN}`), `{"adminPass": "***", "x": NaN}`},
		{[]byte(`["x"]`), `["x"]`},
		{RequestContext{"service_credentials": map[string]any{"k": "S"}, "n": nil}, `{"n": null, "service_credentials": "***"}`},
		{user{"n", "S"}, `{"name": "n", "password": "***"}`},
		{map[string]any{"u": user{"n", "S"}}, `{"u": {"name": "n", "password": "***"}}`},
		{[]byte("S is not JSON"), "([]uint8 that is not JSON)"},
		{make(chan int), "(chan int that is not JSON)"},
		{map[string]any{"f": func() {}}, `{"f": "(func())"}`},
		{"text", `"text"`},
	}
	for _, tt := range tests {
		if got := Redacted(tt.v).LogValue().String(); got != tt.want {
			t.Errorf("%T: %s, want %s", tt.v, got, tt.want)
		}
	}
	long := Redacted(map[string]any{"a": strings.Repeat("ü", 5000), "b": make([]any, 100000)}).LogValue().String()
	if len(long) > maxLogged+len("…") || !strings.HasSuffix(long, "…") {
		t.Errorf("a long value is logged with %d bytes", len(long))
	}
	// Lazily: a record that nobody wants does not look at the value.
	slog.New(slog.DiscardHandler).Debug("x", "v", Redacted(explodes{}))
}

// explodes fails the test when it is encoded.
type explodes struct{}

func (explodes) MarshalJSON() ([]byte, error) { panic("encoded") }

func TestRequestContext(t *testing.T) {
	ctx := t.Context()
	if _, ok := RequestContextFrom(ctx); ok {
		t.Error("a request context out of nowhere")
	}
	if raw, err := contextBytes(ctx); raw != nil || err != nil {
		t.Errorf("%s, %v", raw, err)
	}
	given := RequestContext{"request_id": "req-1", "n": 1}
	ctx = WithRequestContext(ctx, given)
	given["request_id"] = "changed"
	rc, ok := RequestContextFrom(ctx)
	if !ok || rc["request_id"] != "req-1" {
		t.Errorf("%v %v", rc, ok)
	}
	rc["request_id"] = "changed"
	if raw, err := contextBytes(ctx); err != nil || string(raw) != `{"n": 1, "request_id": "req-1"}` {
		t.Errorf("%s, %v", raw, err)
	}
	if _, err := contextBytes(WithRequestContext(ctx, RequestContext{"f": func() {}})); err == nil {
		t.Error("a function was encoded")
	}
}

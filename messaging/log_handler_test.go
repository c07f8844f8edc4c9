// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math/big"
	"strings"
	"testing"
	"testing/slogtest"
)

func TestLogHandlerConforms(t *testing.T) {
	var out bytes.Buffer
	slogtest.Run(t, func(*testing.T) slog.Handler {
		out.Reset()
		return NewLogHandler(slog.NewJSONHandler(&out, nil), nil)
	}, func(t *testing.T) map[string]any {
		var got map[string]any
		if err := json.Unmarshal(out.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		return got
	})
}

func TestLogHandler(t *testing.T) {
	const secret = "hunter2"
	rc := RequestContext{
		"request_id": "req-1", "user": "u", "user_id": "uid", "project": "p", "project_id": "pid", "global_request_id": "greq",
		"tenant": map[string]any{"name": "t", "password": secret}, "auth_token": secret, "n": big.NewInt(7), "empty": "", "null": nil, "admin": true,
	}
	client := WithRequestContext(t.Context(), rc)
	handler := &handlerContext{endingContext: endingContext{Context: t.Context()}, rc: client.Value(requestContextKey{}).(*requestContext), request: ServerRequest{
		RequestInfo: RequestInfo{Method: "m", MessageID: "id", Target: Target{Topic: "compute", Server: "host1"}},
	}}
	const who = `"request_id":"req-1","global_request_id":"greq","user":"u","user_id":"uid","project":"p","project_id":"pid"`
	const what = `"method":"m","target":"compute/host1","message_id":"id"`
	tests := map[string]struct {
		ctx  context.Context
		keys []string
		log  func(*slog.Logger) *slog.Logger
		attr []any
		want string
	}{
		"no context":      {t.Context(), nil, nil, []any{"a", 1}, `"a":1`},
		"a client":        {client, nil, nil, []any{"a", 1}, `"a":1,` + who},
		"a handler":       {handler, nil, nil, nil, who + "," + what},
		"own keys":        {handler, []string{"tenant", "auth_token", "n", "empty", "null", "missing", "admin"}, nil, nil, `"tenant":"{\"name\": \"t\", \"password\": \"***\"}","n":"7","admin":true,` + what},
		"no keys":         {handler, []string{}, nil, nil, what},
		"the record's":    {handler, []string{"user"}, nil, []any{"method", "mine", "user", "me"}, `"method":"mine","user":"me","target":"compute/host1","message_id":"id"`},
		"With":            {handler, []string{}, func(l *slog.Logger) *slog.Logger { return l.With("b", 2) }, []any{"a", 1}, `"b":2,"a":1,` + what},
		"outside groups":  {handler, []string{}, func(l *slog.Logger) *slog.Logger { return l.With("b", 2).WithGroup("g").With("c", 3) }, []any{"a", 1}, `"b":2,` + what + `,"g":{"c":3,"a":1}`},
		"nested groups":   {handler, []string{}, func(l *slog.Logger) *slog.Logger { return l.WithGroup("g").With("c", 3).WithGroup("h").With("d", 4) }, []any{"a", 1}, what + `,"g":{"c":3,"h":{"d":4,"a":1}}`},
		"siblings do not": {handler, []string{}, func(l *slog.Logger) *slog.Logger { g := l.WithGroup("g"); g.With("x", 1); return g.With("y", 2) }, nil, what + `,"g":{"y":2}`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			drop := func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey || a.Key == slog.LevelKey || a.Key == slog.MessageKey {
					return slog.Attr{}
				}
				return a
			}
			var opts *LogHandlerOptions
			if tt.keys != nil {
				opts = &LogHandlerOptions{Keys: tt.keys}
			}
			logger := slog.New(NewLogHandler(slog.NewJSONHandler(&out, &slog.HandlerOptions{ReplaceAttr: drop}), opts))
			if tt.log != nil {
				logger = tt.log(logger)
			}
			logger.InfoContext(tt.ctx, "text", tt.attr...)
			if got := strings.TrimSpace(out.String()); got != "{"+tt.want+"}" {
				t.Errorf("got  %s\nwant {%s}", got, tt.want)
			}
			if strings.Contains(out.String(), secret) {
				t.Error("a secret was logged")
			}
			out.Reset()
			logger.DebugContext(tt.ctx, "text")
			if out.Len() != 0 {
				t.Error("a level that is off was logged")
			}
		})
	}
}

// Every record of a server about a request says which: its own and the handlers'.
func TestServerLogsWithTheRequest(t *testing.T) {
	log := &recorder{}
	logger := slog.New(NewLogHandler(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}), nil))
	ep := computeEndpoint()
	ep.HandleFunc("logs", func(ctx context.Context, _ map[string]any) (any, error) {
		logger.InfoContext(ctx, "from the handler")
		return nil, nil
	})
	s := newStageOf(t, &Options{Logger: logger}, nil, nil, ep)
	methods := []string{"logs", "fails", "panic", "nope", "unencodable", "echo"}
	for _, m := range methods {
		d := callOf(m, m, "{}")
		d.Context = []byte(`{"request_id":"req-7"}`)
		s.deliver(d)
		s.reply(t, m)
	}
	d := callOf("echo", "echo", "{}")
	d.Context = []byte(`{"request_id":"req-7"}`)
	s.deliver(d)
	eventually(t, "the duplicate", func() bool { return s.server.Stats().Duplicates == 1 })
	texts := []string{"from the handler", "handler failed", "handler panicked", "request refused", "result cannot be encoded", "received before", "request received"}
	lines := log.all()
	for _, text := range texts {
		found := false
		for _, line := range lines {
			if strings.Contains(line, text) {
				found = true
				if !strings.Contains(line, "request_id=req-7") || !strings.Contains(line, "target=compute/host1") || strings.Count(line, "method=") != 1 || strings.Count(line, "message_id=") != 1 {
					t.Errorf("not told which request: %s", line)
				}
			}
		}
		if !found {
			t.Errorf("%q was not logged: %s", text, strings.Join(lines, ""))
		}
	}
}

func TestLoggedErrors(t *testing.T) {
	text := func(err error) string {
		var out bytes.Buffer
		slog.New(slog.NewTextHandler(&out, nil)).LogAttrs(t.Context(), slog.LevelInfo, "x", errorAttr(err))
		return out.String()
	}
	if got := text(errors.New("short")); !strings.Contains(got, "error=short") {
		t.Errorf("got %s", got)
	}
	if got := text(errors.New(strings.Repeat("long", 10000))); len(got) > maxLogged+200 || !strings.Contains(got, "…") {
		t.Errorf("%d bytes", len(got))
	}
	if got := text((*panickyError)(nil)); !strings.Contains(got, "*messaging.panickyError whose text cannot be had") {
		t.Errorf("got %s", got)
	}
}

func TestRedactedFindsHiddenSecrets(t *testing.T) {
	for _, v := range []any{
		map[string]any{"oslo.message": `{"args": {"password": "S", "a": [{"token": "S"}]}}`},
		`{"password":"S"}`,
		`[{"password":"S"}]`,
		map[string]any{"l": []any{[]any{"password", "S"}, []any{"a", "b"}}},
		[]any{map[string]any{"name": "auth_token", "value": "S"}, map[string]any{"key": "secret", "value": []any{"S"}}},
		map[string]any{"x": map[string]any{"y": `{"z": "{\"api_key\": \"S\"}"}`}},
		json.RawMessage(`{"X-Auth-Token": "S", "cookie": {"a": "S"}}`),
	} {
		if got := Redacted(v).LogValue().String(); strings.Contains(got, "S") || !strings.Contains(got, maskedText) {
			t.Errorf("%v: %s", v, got)
		}
	}
	for v, want := range map[any]string{
		"{not JSON": `"{not JSON"`, "[1, 2]": `"[1, 2]"`, `{"a": "S"}`: `"{\"a\": \"S\"}"`, "plain": `"plain"`,
	} {
		if got := Redacted(v).LogValue().String(); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
	}
	deep := `"x"`
	for range 5 {
		text, err := json.Marshal("[" + deep + "]")
		if err != nil {
			t.Fatal(err)
		}
		deep = string(text)
	}
	if got := Redacted(json.RawMessage(deep)).LogValue().String(); len(got) > maxLogged+len("…") {
		t.Errorf("%d bytes", len(got))
	}
}

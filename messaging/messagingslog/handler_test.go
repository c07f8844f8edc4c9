// SPDX-License-Identifier: Apache-2.0

package messagingslog_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/slogtest"
	"time"

	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/messaging/messagingslog"
	"github.com/parleymq/parley/messaging/messagingtest"
)

// stage is a handler on a broker.
type stage struct {
	broker  *messagingtest.Broker
	handler *messagingslog.Handler
	logger  *slog.Logger
}

func newStage(t *testing.T, opts *messagingslog.Options) *stage {
	t.Helper()
	broker := messagingtest.NewBroker()
	tr := broker.Transport(t, &messaging.Options{Logger: slog.New(slog.DiscardHandler)})
	h := messagingslog.NewHandler(messaging.NewNotifier(tr, nil), opts)
	return &stage{broker, h, slog.New(h)}
}

// payload returns the payload of the next notification.
func (s *stage) payload(t *testing.T) map[string]any {
	t.Helper()
	sent := s.broker.Expect(t, messagingtest.Match{})
	var p map[string]any
	if err := json.Unmarshal(sent.Payload, &p); err != nil {
		t.Fatalf("%v: %s", err, sent.Payload)
	}
	return p
}

// TestSlogtest has the rules of package slog; a payload is put as the test wants it.
func TestSlogtest(t *testing.T) {
	var s *stage
	slogtest.Run(t, func(t *testing.T) slog.Handler {
		s = newStage(t, nil)
		return s.handler
	}, func(t *testing.T) map[string]any {
		p := s.payload(t)
		result := map[string]any{slog.LevelKey: p["levelname"], slog.MessageKey: p["msg"]}
		if created, ok := p["created"]; ok {
			result[slog.TimeKey] = created
		}
		if extra, ok := p["extra"].(map[string]any); ok {
			for key, value := range extra {
				result[key] = value
			}
		}
		return result
	})
}

func TestPayload(t *testing.T) {
	s := newStage(t, nil)
	before := time.Now()
	s.logger.Error("it failed", "path", "/x", "error", fmt.Errorf("open: %w", os.ErrNotExist))
	sent := s.broker.Expect(t, messagingtest.Match{EventType: "logrecord", Topic: "notifications"})
	if sent.Priority != "error" {
		t.Errorf("the priority is %s", sent.Priority)
	}
	var p map[string]any
	if err := json.Unmarshal(sent.Payload, &p); err != nil {
		t.Fatal(err)
	}
	created, _ := p["created"].(float64)
	if at := time.UnixMicro(int64(created * 1e6)); at.Before(before.Add(-time.Second)) || at.After(time.Now().Add(time.Second)) {
		t.Errorf("created is %v", at)
	}
	file, _ := p["pathname"].(string)
	if filepath.Base(file) != "handler_test.go" || p["lineno"].(float64) < 1 {
		t.Errorf("made in %v:%v", file, p["lineno"])
	}
	for _, key := range []string{"created", "pathname", "lineno"} {
		delete(p, key)
	}
	want := map[string]any{
		"name": "github.com/parleymq/parley/messaging/messagingslog_test", "levelno": 40.0, "levelname": "ERROR", "msg": "it failed",
		"exc_info": []any{"*fmt.wrapError", "open: file does not exist", nil}, "funcName": "TestPayload", "thread": nil,
		"processName": filepath.Base(os.Args[0]), "process": float64(os.Getpid()),
		"extra": map[string]any{"path": "/x", "error": "open: file does not exist"},
	}
	if got := fmt.Sprint(p); got != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestLevels(t *testing.T) {
	s := newStage(t, &messagingslog.Options{Level: slog.Level(-100), Name: "app"})
	for level, want := range map[slog.Level]string{
		-8: "debug DEBUG 0", -4: "debug DEBUG 10", -2: "debug DEBUG 15", 0: "info INFO 20", 2: "info INFO 25", 4: "warn WARNING 30",
		8: "error ERROR 40", 11: "error ERROR 47", messagingslog.LevelCritical: "critical CRITICAL 50", 20: "critical CRITICAL 70",
	} {
		s.logger.Log(t.Context(), level, "x")
		sent := s.broker.Expect(t, messagingtest.Match{})
		var p struct {
			Levelname string
			Levelno   int
			Name      string
		}
		if err := json.Unmarshal(sent.Payload, &p); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%s %s %d", sent.Priority, p.Levelname, p.Levelno); got != want || p.Name != "app" {
			t.Errorf("%d: got %s of %s, want %s", level, got, p.Name, want)
		}
	}
	var v slog.LevelVar
	v.Set(slog.LevelWarn)
	h := newStage(t, &messagingslog.Options{Level: &v}).handler
	ctx := context.Background()
	if h.Enabled(ctx, slog.LevelInfo) || !h.Enabled(ctx, slog.LevelWarn) {
		t.Error("the level is not asked")
	}
	if d := newStage(t, nil).handler; d.Enabled(ctx, slog.LevelDebug) || !d.Enabled(ctx, slog.LevelInfo) {
		t.Error("the default is not info")
	}
	off := messaging.NewNotifier(messagingtest.NewTransport(t), &messaging.NotifierOptions{Outlets: []messaging.Outlet{messaging.NoopOutlet()}})
	if messagingslog.NewHandler(off, nil).Enabled(ctx, slog.LevelError) {
		t.Error("enabled for nobody")
	}
}

// opaque has a secret that fmt would print, and no JSON.
type opaque struct {
	Secret string
	F      func()
}

type panics struct{}

func (panics) Error() string                { panic("no text") }
func (panics) MarshalJSON() ([]byte, error) { panic("no JSON") }

type panicsJSON struct{}

func (panicsJSON) MarshalJSON() ([]byte, error) { panic("no JSON") }

type valuer struct{ v any }

func (v valuer) LogValue() slog.Value { return slog.AnyValue(v.v) }

type account struct {
	User     string `json:"user"`
	Password string `json:"password"`
}

func TestExtra(t *testing.T) {
	at := time.Date(2026, 11, 23, 1, 2, 3, 4000, time.UTC)
	for name, tc := range map[string]struct {
		log  func(*slog.Logger)
		want string
	}{
		"none":           {func(l *slog.Logger) { l.Info("m") }, `null`},
		"kinds":          {func(l *slog.Logger) { l.Info("m", "b", true, "i", -1, "f", 1.5, "u", uint64(math.MaxUint64), "n", nil) }, `{"b": true, "f": 1.5, "i": -1, "n": null, "u": 18446744073709551615}`},
		"text":           {func(l *slog.Logger) { l.Info("m", "d", time.Second, "t", at, "e", io.EOF) }, `{"d": "1s", "e": "EOF", "t": "2026-11-23T01:02:03.000004Z"}`},
		"structs":        {func(l *slog.Logger) { l.Info("m", "v", struct{ A []int }{[]int{1, 2}}) }, `{"v": {"A": [1, 2]}}`},
		"valuers":        {func(l *slog.Logger) { l.Info("m", "v", valuer{valuer{io.EOF}}) }, `{"v": "EOF"}`},
		"a valuer group": {func(l *slog.Logger) { l.Info("m", "v", valuer{[]slog.Attr{slog.Int("a", 1)}}) }, `{"v": {"a": 1}}`},
		"groups":         {func(l *slog.Logger) { l.With("a", 1).WithGroup("g").With("b", 2).WithGroup("h").Info("m", "c", 3) }, `{"a": 1, "g": {"b": 2, "h": {"c": 3}}}`},
		"empty groups":   {func(l *slog.Logger) { l.With("a", 1).WithGroup("g").WithGroup("h").Info("m", slog.Group("i")) }, `{"a": 1}`},
		"inline":         {func(l *slog.Logger) { l.Info("m", slog.Group("", "a", 1)) }, `{"a": 1}`},
		"siblings":       {func(l *slog.Logger) { g := l.WithGroup("g").With("z", 0); g.With("x", 1); g.With("y", 2).Info("m") }, `{"g": {"y": 2, "z": 0}}`},
		"last wins":      {func(l *slog.Logger) { l.With("a", 1).Info("m", "a", 2) }, `{"a": 2}`},
		"secrets": {func(l *slog.Logger) {
			l.With("auth_token", "S3cr3t").Info("m", "v", account{"u", "S3cr3t"}, "body", `{"token": "S3cr3t"}`)
		}, `{"auth_token": "***", "body": "{\"token\": \"***\"}", "v": {"password": "***", "user": "u"}}`},
		"a secret group": {func(l *slog.Logger) { l.WithGroup("credentials").Info("m", "v", "S3cr3t") }, `{"credentials": "***"}`},
		"no JSON":        {func(l *slog.Logger) { l.Info("m", "v", opaque{Secret: "S3cr3t"}, "c", make(chan int)) }, `{"c": "(chan int)", "v": "(messagingslog_test.opaque)"}`},
		"panics":         {func(l *slog.Logger) { l.Info("m", "e", panics{}, "j", panicsJSON{}) }, `{"e": "(messagingslog_test.panics)", "j": "(messagingslog_test.panicsJSON)"}`},
		"large":          {func(l *slog.Logger) { l.Info("m", "t", strings.Repeat("ü", 40), "v", make([]int, 100)) }, `{"t": "` + strings.Repeat("ü", 32) + `…", "v": "([]int)"}`},
		"JSON stays":     {func(l *slog.Logger) { l.Info("m", "t", `{"b":1, "a":2}`) }, `{"t": "{\"b\":1, \"a\":2}"}`},
		"NaN":            {func(l *slog.Logger) { l.Info("m", "f", math.NaN()) }, `{"f": NaN}`},
		"not UTF-8":      {func(l *slog.Logger) { l.Info("m", "f", "\xff") }, `{"f": "�"}`},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, &messagingslog.Options{MaxText: 64})
			tc.log(s.logger)
			sent := s.broker.Expect(t, messagingtest.Match{})
			if _, after, ok := strings.Cut(string(sent.Body), `"extra": `); !ok || !strings.HasPrefix(after, tc.want+", ") {
				t.Errorf("got  %s\nwant %s", sent.Body, tc.want)
			}
			if strings.Contains(string(sent.Body), "S3cr3t") {
				t.Errorf("a secret left: %s", sent.Body)
			}
		})
	}
}

// TestPublishedError is upstream's PublishErrorsHandler.
func TestPublishedError(t *testing.T) {
	s := newStage(t, &messagingslog.Options{Form: messagingslog.PublishedError, Level: slog.LevelError})
	s.logger.Warn("not this")
	s.logger.Log(t.Context(), messagingslog.LevelCritical, "it failed", "a", 1)
	sent := s.broker.Expect(t, messagingtest.Match{EventType: "error_notification"})
	if sent.Priority != "error" || string(sent.Payload) != `{"error":"it failed"}` || !strings.Contains(string(sent.Body), `"publisher_id":"error.publisher"`) {
		t.Errorf("got %s %s", sent.Priority, sent.Body)
	}
	if n := len(s.broker.Sent(messagingtest.Match{})); n != 1 {
		t.Errorf("%d notifications", n)
	}
}

// TestContext has a record whose context has ended, with a request context.
func TestContext(t *testing.T) {
	s := newStage(t, nil)
	ctx := messaging.WithRequestContext(context.Background(), messaging.RequestContext{"request_id": "req-1", "auth_token": "S3cr3t"})
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	s.logger.ErrorContext(ctx, "why it ended")
	if sent := s.broker.Expect(t, messagingtest.Match{EventType: "logrecord"}); sent.Err != nil {
		t.Errorf("lost: %v", sent.Err)
	}
	if err := s.handler.Handle(nil, slog.NewRecord(time.Time{}, slog.LevelInfo, "no context, time or place", 0)); err != nil { //nolint:staticcheck // nil is what is tested
		t.Error(err)
	}
	if p := s.payload(t); p["name"] != "root" || p["pathname"] != "" {
		t.Errorf("got %v", p)
	}
}

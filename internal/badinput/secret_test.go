// SPDX-License-Identifier: Apache-2.0

package badinput

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

// secretly is a Serializer that fails where a test wants it to.
type secretly struct {
	messaging.JSON
	fail bool
}

func (s secretly) UnmarshalContext(ctx context.Context, _ messaging.RequestContext) (context.Context, error) {
	if s.fail {
		return nil, errors.New("no such user")
	}
	return ctx, nil
}

// typed are arguments of which one does not fit what is sent.
type typed struct {
	Name     string `json:"name"`
	Password int    `json:"password"`
}

// TestPlantedSecret sends secrets in arguments, results, request contexts, headers and failures'
// arguments through everything that logs, and looks for them in all logs, at debug level, of
// the core, the host and the drivers. What an application says in the text of its own errors is
// its own; everything else is looked after here.
func TestPlantedSecret(t *testing.T) { bed.EachWire(t, testPlantedSecret) }

func testPlantedSecret(t *testing.T, w *testbed.Wire) {
	url := w.New(t).URL
	for _, tc := range []struct {
		name   string
		method string
		do     func(t *testing.T, tr *messaging.Transport)
		opts   *messaging.RPCServerOptions
		want   error // of the call; nil for success
	}{
		{name: "success", method: "ok"},
		{name: "failure", method: "fail", want: new(messaging.RemoteError)},
		{name: "expected failure", method: "expected", want: new(messaging.RemoteError)},
		{name: "panic", method: "panic", want: new(messaging.RemoteError)},
		{name: "unknown method", method: "nosuch", want: messaging.ErrNoSuchMethod},
		{name: "private method", method: "_private", want: messaging.ErrNoSuchMethod},
		{name: "arguments that do not fit", method: "typed", want: new(messaging.RemoteError)},
		{name: "result that cannot be encoded", method: "channel", want: new(messaging.RemoteError)},
		{name: "context that does not decode", method: "ok", opts: &messaging.RPCServerOptions{Serializer: secretly{fail: true}}, want: new(messaging.RemoteError)},
		{name: "no reply", method: "hang", want: messaging.ErrNoReply},
		{name: "after the handler", method: "ok", opts: &messaging.RPCServerOptions{Ack: messaging.AckAfterHandler}},
		{name: "in order", method: "ok", opts: &messaging.RPCServerOptions{OrderBy: func(r *messaging.ServerRequest) string { return r.Method }}},
		{name: "driver killed", method: "ok", do: killDrivers},
	} {
		t.Run(tc.name, func(t *testing.T) {
			logs := testbed.NewLogs(t) // looks for the secret itself
			logger := slog.New(messaging.NewLogHandler(logs.Logger().Handler(), nil))
			tr, err := messaging.Open(within(t, patience), url, &messaging.Options{Host: bed.Host(logs), Logger: logger})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { testbed.Close(t, tr) })
			stop := testbed.Serve(t, messaging.NewRPCServer(tr, messaging.Target{Topic: "t", Server: "s1"}, tc.opts, secretEndpoint(logger)))
			if tc.do != nil {
				tc.do(t, tr)
			}
			err = callWithSecrets(t, tr, logger, tc.method)
			checkSecretCall(t, err, tc.want)
			stop()
			if err != nil {
				logs.Printf("error: %v", err) // and not %#v, which is the whole of it
				logger.Error("call failed", "error", err)
				slog.New(slog.NewJSONHandler(logs, nil)).Error("call failed", "error", err)
			}
			if len(logs.Lines("level=DEBUG")) == 0 || len(logs.Lines("request_id=req-1")) == 0 {
				t.Error("the log has no debug records, or none of the request: nothing is proven")
			}
		})
	}
}

func checkSecretCall(t *testing.T, err, want error) {
	t.Helper()
	_, remote := errors.AsType[*messaging.RemoteError](err)
	_, wantRemote := errors.AsType[*messaging.RemoteError](want)
	switch {
	case want == nil && err == nil, wantRemote && remote, want != nil && errors.Is(err, want):
	default:
		t.Errorf("the call ended with %v, want %v", err, want)
	}
}

// secret returns one, with a name that makes it easy to see where it came from.
func secret(where string) string { return testbed.Secret + "-" + where }

func callWithSecrets(t *testing.T, tr *messaging.Transport, logger *slog.Logger, method string) error {
	t.Helper()
	header := func(next messaging.ClientHandler) messaging.ClientHandler {
		return func(ctx context.Context, r *messaging.ClientRequest) error {
			r.SetHeader("authorization", secret("header"))
			logger.DebugContext(ctx, "sending", "args", messaging.Redacted(r.Args))
			return next(ctx, r)
		}
	}
	timeout := patience
	if method == "hang" {
		timeout = time.Second
	}
	c := messaging.NewRPCClient(tr, messaging.Target{Topic: "t"}, &messaging.RPCClientOptions{
		Timeout: timeout, Middleware: []messaging.ClientMiddleware{header},
	})
	ctx := messaging.WithRequestContext(t.Context(), messaging.RequestContext{
		"request_id": "req-1", "user_id": "u-1", "auth_token": secret("context"),
		"service_catalog": []any{map[string]any{"secret_key": secret("catalog")}},
	})
	return c.Call(ctx, method, map[string]any{
		"name": "i-1", "password": secret("argument"),
		"networks": []any{map[string]any{"admin_pass": secret("nested")}},
	}, nil)
}

// secretEndpoint has a method for each way a request may end.
func secretEndpoint(logger *slog.Logger) *messaging.Endpoint {
	ep := messaging.NewEndpoint(nil)
	failure := &messaging.RemoteError{
		Module: "nova.exception", Class: "Broken", Message: "it broke",
		Args: []any{secret("failure")}, Kwargs: map[string]any{"password": secret("kwargs")},
	}
	handle := func(name string, fn func() (any, error)) {
		ep.HandleFunc(name, func(ctx context.Context, args map[string]any) (any, error) {
			logger.InfoContext(ctx, "handling", "args", messaging.Redacted(args))
			return fn()
		})
	}
	handle("ok", func() (any, error) { return map[string]any{"token": secret("result")}, nil })
	handle("fail", func() (any, error) { return nil, failure })
	handle("expected", func() (any, error) { return nil, messaging.Expected(failure) })
	handle("panic", func() (any, error) { panic("it broke") })
	handle("channel", func() (any, error) { return map[string]any{"token": secret("result"), "c": make(chan int)}, nil })
	ep.HandleFunc("hang", func(ctx context.Context, _ map[string]any) (any, error) {
		logger.InfoContext(ctx, "hanging")
		<-ctx.Done()
		return nil, ctx.Err()
	})
	messaging.Method[typed, struct{}]{Name: "typed"}.Handle(ep, func(context.Context, typed) (struct{}, error) {
		return struct{}{}, errors.New("arguments that do not fit were taken")
	})
	return ep
}

// killDrivers ends the drivers; the next call starts another.
func killDrivers(t *testing.T, _ *messaging.Transport) {
	t.Helper()
	for _, p := range bed.DriverProcesses() {
		if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
		testbed.Eventually(t, patience, "the driver ends", func() bool { return !bed.Running(p.PID) })
	}
}

// The check itself finds a secret.
func TestSecretInALogIsFound(t *testing.T) {
	var failed strings.Builder
	probe := &logProbe{TB: t, failed: &failed}
	testbed.NewLogs(probe).Printf("password=%s", secret("probe"))
	probe.cleanup()
	if !strings.Contains(failed.String(), "a secret is in the log") || strings.Contains(failed.String(), testbed.Secret) {
		t.Errorf("the check said %q", strings.ReplaceAll(failed.String(), testbed.Secret, "SECRET"))
	}
}

// logProbe is a test that may fail.
type logProbe struct {
	testing.TB
	failed  *strings.Builder
	cleanup func()
}

func (p *logProbe) Cleanup(f func())                  { p.cleanup = f }
func (p *logProbe) Error(args ...any)                 { fmt.Fprint(p.failed, args...) }
func (p *logProbe) Errorf(format string, args ...any) { fmt.Fprintf(p.failed, format, args...) }
func (p *logProbe) Failed() bool                      { return p.failed.Len() > 0 }

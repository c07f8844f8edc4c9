// SPDX-License-Identifier: Apache-2.0

package foundation

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

var (
	echo  = messaging.Method[text, string]{Name: "echo"}
	fails = messaging.Method[text, struct{}]{Name: "fails"}
	note  = messaging.Method[text, struct{}]{Name: "note"}
)

type text struct {
	Text string `json:"text"`
}

// app is an application of today: two servers and a client, on one driver process.
type app struct {
	bed   testbed.Bed // of the processes that are looked for
	level *slog.LevelVar
	logs  *testbed.Logs
	t     *messaging.Transport
	c     *messaging.RPCClient
	noted [2]atomic.Int64 // casts that each server got
}

// newApp opens a transport of the driver in a directory.
func newApp(t *testing.T, drivers, url string) *app {
	t.Helper()
	a := &app{level: new(slog.LevelVar), logs: testbed.NewLogs(t)}
	a.bed.Drivers = drivers
	runtime, err := os.MkdirTemp("/tmp", "pf") // a socket's address has little room
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(runtime) })
	a.bed.Runtime = runtime
	host := messaging.NewHost(&messaging.HostOptions{
		DriverPath: []string{drivers}, RuntimeDir: runtime, Logger: a.logs.Logger(), LogLevel: a.level,
		LockFile:    filepath.Join(t.TempDir(), "parley.lock"),
		Supervision: messaging.Supervision{HeartbeatInterval: 50 * time.Millisecond},
	})
	a.t, err = messaging.Open(soon(t), url, &messaging.Options{Host: host, Logger: a.logs.Logger(), AppName: "foundation"})
	must(t, err)
	t.Cleanup(func() { testbed.Close(t, a.t) })
	a.c = messaging.NewRPCClient(a.t, messaging.Target{Topic: "foundation"}, &messaging.RPCClientOptions{Timeout: patience})
	for i, name := range []string{"one", "two"} {
		testbed.Serve(t, messaging.NewRPCServer(a.t, messaging.Target{Topic: "foundation", Server: name}, nil, a.endpoint(i)))
	}
	return a
}

func (a *app) endpoint(i int) *messaging.Endpoint {
	ep := messaging.NewEndpoint(nil)
	echo.Handle(ep, func(_ context.Context, in text) (string, error) { return in.Text, nil })
	fails.Handle(ep, func(_ context.Context, in text) (struct{}, error) {
		return struct{}{}, &messaging.RemoteError{Class: "ValueError", Module: "builtins", Message: in.Text}
	})
	note.Handle(ep, func(context.Context, text) (struct{}, error) {
		a.noted[i].Add(1)
		return struct{}{}, nil
	})
	return ep
}

// mustEcho makes one call, which must be answered.
func (a *app) mustEcho(t *testing.T, what string) {
	t.Helper()
	got, err := echo.Call(soon(t), a.c, text{what})
	if err != nil || got != what {
		t.Fatalf("a call of %d bytes: %d bytes, %v", len(what), len(got), err)
	}
}

// pid is the driver's process.
func (a *app) pid() int { return a.bed.DriverOf(os.Getpid()) }

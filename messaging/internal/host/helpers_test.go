// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/parleymq/parley/plugin/driver"
)

// privateDir is a directory that passes the checks whatever the umask is.
func privateDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o755))
	real, err := filepath.EvalSymlinks(dir)
	must(t, err)
	return real
}

// shortDir is a private directory with a path short enough for sockets.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "ph")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func testBase(t testing.TB) *runBase {
	t.Helper()
	base, err := openRunBase(shortDir(t), func(string) string { return "" })
	must(t, err)
	return base
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// writeProgram makes a driver of a script.
func writeProgram(t testing.TB, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, filePrefix+name)
	must(t, os.WriteFile(path, []byte(text), 0o755))
	must(t, os.Chmod(path, 0o755))
	return path
}

// scriptCandidate is a driver made of a shell script.
func scriptCandidate(t testing.TB, text string) Candidate {
	t.Helper()
	return Candidate{Name: "script", Path: writeProgram(t, privateDir(t), "script", "#!/bin/sh\n"+text)}
}

// helperCandidate is the compiled helper.
func helperCandidate(t testing.TB) Candidate {
	t.Helper()
	return Candidate{Name: "helper", Path: helperProgram(t)}
}

// records collects what is logged.
type records struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (r *records) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.Write(b)
}

func (r *records) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(r, &slog.HandlerOptions{Level: levelTrace}))
}

// all returns the records so far.
func (r *records) all(t testing.TB) []map[string]any {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []map[string]any
	for line := range bytes.Lines(r.buf.Bytes()) {
		var m map[string]any
		if err := json.Unmarshal(line, &m); err != nil {
			t.Fatalf("log record %q: %v", line, err)
		}
		out = append(out, m)
	}
	return out
}

// with returns the first record that has the message. It decodes no other, since tests ask
// again and again.
func (r *records) with(t testing.TB, message string) map[string]any {
	t.Helper()
	quoted, err := json.Marshal(message)
	must(t, err)
	want := append([]byte(`"msg":`), quoted...)
	r.mu.Lock()
	text := bytes.Clone(r.buf.Bytes())
	r.mu.Unlock()
	at := bytes.Index(text, want)
	if at < 0 {
		return nil
	}
	begin := bytes.LastIndexByte(text[:at], '\n') + 1
	line, _, _ := bytes.Cut(text[begin:], []byte("\n"))
	var m map[string]any
	must(t, json.Unmarshal(line, &m))
	return m
}

// client is a real go-plugin client on one of our runners.
type client struct {
	*plugin.Client
	runner *driverRunner
	base   *runBase
	logs   *records
}

// clientService is the host's side of the helper: none.
type clientService struct{ plugin.NetRPCUnsupportedPlugin }

func (clientService) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error { return nil }

func (clientService) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, cc *grpc.ClientConn) (any, error) {
	return cc, nil
}

// startTimeout is long for what is to succeed on a busy machine.
const startTimeout = 15 * time.Second

// newClient wires a candidate into go-plugin as the host does. Nothing is started yet.
func newClient(t testing.TB, c Candidate, change func(*runnerSpec, *plugin.ClientConfig)) *client {
	t.Helper()
	logs := &records{}
	spec := runnerSpec{Driver: c, Base: testBase(t), Majors: []int{1}, Logger: logs.logger()}
	config := clientConfig()
	if change != nil {
		change(&spec, config)
	}
	r, err := newDriverRunner(spec)
	must(t, err)
	config.RunnerFunc = r.RunnerFunc
	config.UnixSocketConfig = &plugin.UnixSocketConfig{TempDir: r.Dir()}
	var keeper connKeeper
	config.GRPCDialOptions = []grpc.DialOption{keeper.DialOption()}
	out := &client{Client: plugin.NewClient(config), runner: r, base: spec.Base, logs: logs}
	t.Cleanup(func() {
		if err := r.Kill(context.Background()); err != nil {
			t.Error(err)
		}
		out.Kill()
		keeper.Close()
	})
	return out
}

func clientConfig() *plugin.ClientConfig {
	return &plugin.ClientConfig{
		HandshakeConfig:  plugin.HandshakeConfig{MagicCookieKey: "PARLEY_HELPER", MagicCookieValue: "parley"},
		VersionedPlugins: map[int]plugin.PluginSet{1: {"helper": clientService{}}},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		SkipHostEnv:      true,
		StartTimeout:     startTimeout,
		Logger:           hclog.NewNullLogger(),
	}
}

// helperMode gives the helper its mode.
func helperMode(mode string, more ...string) func(*runnerSpec, *plugin.ClientConfig) {
	return func(s *runnerSpec, _ *plugin.ClientConfig) {
		s.Env = append([]string{"HELPER_MODE=" + mode}, more...)
	}
}

// mustServe starts the driver and proves that it answers.
func (c *client) mustServe(t testing.TB) {
	t.Helper()
	protocol, err := c.Client.Client()
	must(t, err)
	must(t, protocol.Ping())
}

// startError starts a driver that must fail, and checks that nothing is left of it.
func (c *client) startError(t testing.TB) *driver.Error {
	t.Helper()
	_, err := c.Start()
	if err == nil {
		t.Fatal("the driver started")
	}
	e, ok := err.(*driver.Error) // unwrapped: it must come through go-plugin as it is
	if !ok {
		t.Fatalf("got %T %v, want a *driver.Error", err, err)
	}
	c.mustBeGone(t)
	return e
}

// mustBeGone checks that neither process nor directory is left.
func (c *client) mustBeGone(t testing.TB) {
	t.Helper()
	select {
	case <-c.runner.Released():
	case <-time.After(waitLimit):
		t.Fatal("the runner was not released")
	}
	if pid := c.runner.Pid(); pid != 0 && processStartTime(pid) == c.runner.StartTime() && c.runner.StartTime() != 0 {
		t.Errorf("process %d is left", pid)
	}
	c.mustHaveNoDirs(t)
}

func (c *client) mustHaveNoDirs(t testing.TB) {
	t.Helper()
	entries, err := os.ReadDir(c.base.path)
	must(t, err)
	for _, e := range entries {
		t.Errorf("left behind: %s", e.Name())
	}
}

// running reports whether a process runs, zombies not counted.
func running(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile(filepath.Join("/proc", itoa(pid), "stat"))
	if err != nil {
		return false
	}
	rest := stat[bytes.LastIndexByte(stat, ')')+1:]
	return !bytes.HasPrefix(bytes.TrimSpace(rest), []byte("Z"))
}

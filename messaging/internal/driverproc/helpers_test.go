// SPDX-License-Identifier: Apache-2.0

package driverproc

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/parleymq/parley/messaging/internal/driverfile"
	"github.com/parleymq/parley/messaging/internal/hosttest"
	"github.com/parleymq/parley/plugin/driver"
)

func testBase(t testing.TB) *Base {
	t.Helper()
	base, err := OpenBase(hosttest.ShortDir(t), func(string) string { return "" })
	must(t, err)
	return base
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// scriptCandidate is a driver made of a shell script.
func scriptCandidate(t testing.TB, text string) driverfile.Candidate {
	t.Helper()
	return driverfile.Candidate{Name: "script", Path: hosttest.WriteProgram(t, hosttest.PrivateDir(t), "script", "#!/bin/sh\n"+text)}
}

// helperCandidate is the compiled helper.
func helperCandidate(t testing.TB) driverfile.Candidate {
	t.Helper()
	return driverfile.Candidate{Name: "helper", Path: helperProgram(t)}
}

// client is a real go-plugin client on one of our runners.
type client struct {
	*plugin.Client
	runner *Runner
	base   *Base
	logs   *hosttest.Records
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
func newClient(t testing.TB, c driverfile.Candidate, change func(*Spec, *plugin.ClientConfig)) *client {
	t.Helper()
	logs := &hosttest.Records{}
	spec := Spec{Driver: c, Base: testBase(t), Majors: []int{1}, Logger: logs.Logger()}
	config := clientConfig()
	if change != nil {
		change(&spec, config)
	}
	r, err := New(spec)
	must(t, err)
	config.RunnerFunc = r.RunnerFunc
	config.UnixSocketConfig = &plugin.UnixSocketConfig{TempDir: r.Dir()}
	var keeper ConnKeeper
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
func helperMode(mode string, more ...string) func(*Spec, *plugin.ClientConfig) {
	return func(s *Spec, _ *plugin.ClientConfig) {
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
	case <-time.After(hosttest.WaitLimit):
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

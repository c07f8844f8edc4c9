// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/procfs"
	"github.com/parleymq/parley/messaging/internal/host"
	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/sdk/drivertest"
)

func newFakeHost(t *testing.T, change func(*host.Options)) *host.Host {
	t.Helper()
	dir := host.FakeDriverDir(t)
	o := host.Options{
		DriverPath: []string{dir}, RuntimeDir: shortDir(t),
		Logger: slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&o)
	}
	return host.New(o)
}

// shortDir is a temporary directory whose path leaves room for a socket's address.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ph")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if left, err := filepath.Glob(dir + "/*/d-*"); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v %v", left, err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// testWriter sends log records to the test's log.
type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(string(b))
	return len(b), nil
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func openFake(t *testing.T, h *host.Host) *host.Conn {
	t.Helper()
	c, err := h.Open(within(t, 20*time.Second), host.OpenRequest{Config: driver.Config{Driver: "fake", VirtualHost: "v", HasVirtualHost: true}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(within(t, 20*time.Second)); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return c
}

var serverSource = driver.Source{
	Kind: driver.SourceServer, Settle: driver.SettleOnPoll,
	Target: driver.Target{Exchange: "openstack", Topic: "t", Server: "s"},
}

func cast(id string) *driver.Message {
	return &driver.Message{Kind: driver.Cast, Target: driver.Target{Exchange: "openstack", Topic: "t"}, UniqueID: id, Body: []byte(`{"method":"m","args":{}}`)}
}

func TestMessagesCrossTheBoundary(t *testing.T) {
	h := newFakeHost(t, nil)
	c := openFake(t, h)
	ctx := within(t, 20*time.Second)
	l, err := c.Listen(ctx, serverSource)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Send(ctx, []*driver.Message{cast("1"), cast("2")}); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for len(seen) < 2 {
		ds, err := l.Poll(ctx, 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range ds {
			seen[d.UniqueID] = true
		}
	}
	if err := l.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestKilledDriverComesBackWithItsListener(t *testing.T) {
	h := newFakeHost(t, func(o *host.Options) { o.BreakerFailures = -1 })
	c := openFake(t, h)
	ctx := within(t, 30*time.Second)
	l, err := c.Listen(ctx, serverSource)
	if err != nil {
		t.Fatal(err)
	}
	for round := range 5 {
		if err := h.SignalForTest("fake", syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		id := string(rune('a' + round))
		for {
			err := c.Send(ctx, []*driver.Message{cast(id)})
			if err == nil {
				break
			}
			if !driver.AsError(err).InDoubt {
				t.Fatalf("round %d: %v", round, err)
			}
		}
		for found := false; !found; {
			ds, err := l.Poll(ctx, 10)
			if err != nil {
				t.Fatalf("round %d: poll: %v", round, err)
			}
			for _, d := range ds {
				found = found || d.UniqueID == id
			}
		}
	}
	if err := l.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if n := c.Restarts(); n != 5 {
		t.Errorf("counted %d restarts", n)
	}
}

// TestConformanceOfTheBuiltBinary runs the suite through everything that an application has
// between itself and a driver.
func TestConformanceOfTheBuiltBinary(t *testing.T) {
	h := newFakeHost(t, func(o *host.Options) { o.Logger = slog.New(slog.DiscardHandler) })
	info, err := h.Describe(within(t, 20*time.Second), "fake")
	if err != nil {
		t.Fatal(err)
	}
	drivertest.Run(t, drivertest.Harness{
		Info: func() driver.Info { return info },
		Open: func(ctx context.Context, t drivertest.TB, namespace string) driver.Conn {
			c, err := h.Open(ctx, host.OpenRequest{Config: driver.Config{Driver: "fake", VirtualHost: namespace, HasVirtualHost: true}})
			if err != nil {
				t.Fatalf("open: %v", err)
			}
			return c
		},
	})
}

// TestStoppedDriverIsReplaced: a process that is alive and does nothing is found by its
// silence and killed from outside.
func TestStoppedDriverIsReplaced(t *testing.T) {
	h := newFakeHost(t, func(o *host.Options) {
		o.HeartbeatInterval, o.HeartbeatTimeout = 100*time.Millisecond, time.Second
	})
	c := openFake(t, h)
	ctx := within(t, 30*time.Second)
	if err := c.Send(ctx, []*driver.Message{cast("before")}); err != nil {
		t.Fatal(err)
	}
	old := h.Running()[0].PID
	if err := h.SignalForTest("fake", syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	awaitStopped(ctx, t, old)
	err := c.Send(ctx, []*driver.Message{cast("during")})
	if e, ok := errors.AsType[*driver.Error](err); !ok || !e.InDoubt || e.Reason != driver.ReasonDriverGone {
		t.Errorf("a message written to a stopped driver: %v", err)
	}
	if err := c.Send(ctx, []*driver.Message{cast("after")}); err != nil {
		t.Errorf("after: %v", err)
	}
	if r := h.Running(); len(r) != 1 || r[0].PID == old || r[0].Lives != 2 {
		t.Errorf("running: %+v, was %d", r, old)
	}
}

// awaitStopped waits until a process that was sent SIGSTOP has stopped.
func awaitStopped(ctx context.Context, t *testing.T, pid int) {
	t.Helper()
	for {
		if stat, ok := procfs.Read(pid); ok && stat.State == 'T' {
			return
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			t.Fatal("the driver has not stopped")
		}
	}
}

// TestOneProcessUnderConcurrency: many transports at once share one process, and it ends with
// the last of them.
func TestOneProcessUnderConcurrency(t *testing.T) {
	h := newFakeHost(t, nil)
	ctx := within(t, 30*time.Second)
	const n = 16
	conns := make(chan *host.Conn, n)
	for range n {
		go func() {
			c, err := h.Open(ctx, host.OpenRequest{Config: driver.Config{Driver: "fake"}})
			if err != nil {
				t.Error(err)
			}
			conns <- c
		}()
	}
	var all []*host.Conn
	for range n {
		if c := <-conns; c != nil {
			all = append(all, c)
		}
	}
	if r := h.Running(); len(r) != 1 || r[0].Lives != 1 {
		t.Errorf("running: %+v", r)
	}
	for _, c := range all {
		if err := c.Close(ctx); err != nil {
			t.Error(err)
		}
	}
	if r := h.Running(); len(r) != 0 {
		t.Errorf("still running: %+v", r)
	}
}

func TestIsolatedConnectionsHaveProcessesOfTheirOwn(t *testing.T) {
	h := newFakeHost(t, nil)
	ctx := within(t, 30*time.Second)
	for _, class := range []string{"a", "b"} {
		c, err := h.Open(ctx, host.OpenRequest{Config: driver.Config{Driver: "fake"}, Class: class})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close(context.Background()) })
	}
	if r := h.Running(); len(r) != 2 || r[0].PID == r[1].PID {
		t.Errorf("running: %+v", r)
	}
}

func TestOpenRefusesUnknownOptionsAndDrivers(t *testing.T) {
	h := newFakeHost(t, nil)
	ctx := within(t, 30*time.Second)
	for text, cfg := range map[string]driver.Config{
		`did you mean "queue_limit"?`: {Driver: "fake", Options: driver.Options{"queue_limits": "1"}},
		`no driver "fak" found`:       {Driver: "fak"},
		`want a whole number`:         {Driver: "fake", Options: driver.Options{"queue_limit": "many"}},
	} {
		_, err := h.Open(ctx, host.OpenRequest{Config: cfg})
		if driver.ReasonOf(err) != driver.ReasonConfig || !strings.Contains(err.Error(), text) {
			t.Errorf("%q is missing in %v", text, err)
		}
	}
	if r := h.Running(); len(r) != 0 {
		t.Errorf("a process was left: %+v", r)
	}
}

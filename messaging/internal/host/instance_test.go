// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"context"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/parleymq/parley/messaging/internal/host"
	"github.com/parleymq/parley/messaging/internal/hosttest"
	"github.com/parleymq/parley/plugin/driver"
)

// openProbe opens a connection whose Ping tells the driver's process and the instance.
func openProbe(t *testing.T, h *host.Host, instance string) *host.Conn {
	t.Helper()
	c, err := h.Open(within(t, 20*time.Second), host.OpenRequest{Config: driver.Config{Driver: "probe", Instance: instance}})
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

// askProbe returns process and instance, or nothing while there is no process.
func askProbe(ctx context.Context, c *host.Conn) (pid, instance string) {
	e := driver.AsError(c.Ping(ctx))
	if e == nil || e.Reason != driver.ReasonUnsupported {
		return "", ""
	}
	pid, instance, _ = strings.Cut(e.Message, " ")
	return pid, instance
}

// An instance is a transport's, over processes that were killed or replaced.
func TestInstanceOutlivesProcesses(t *testing.T) {
	dir := hosttest.PrivateDir(t)
	host.InstallProbeForTest(t, dir)
	h := newFakeHost(t, func(o *host.Options) {
		o.DriverPath, o.Env, o.BreakerFailures = []string{dir}, []string{host.ProbeEnvForTest}, -1
	})
	ctx := within(t, 60*time.Second)
	one, two, given := openProbe(t, h, ""), openProbe(t, h, ""), openProbe(t, h, "mine")
	pid, first := askProbe(ctx, one)
	if !regexp.MustCompile("^[0-9a-f]{32}$").MatchString(first) {
		t.Fatalf("instance %q", first)
	}
	if _, other := askProbe(ctx, two); other == first || len(other) != 32 {
		t.Errorf("another transport has %q", other)
	}
	if _, own := askProbe(ctx, given); own != "mine" {
		t.Errorf("an instance that was given is %q", own)
	}

	for _, end := range []struct {
		how string
		end func() error
	}{
		{"killed", func() error { return h.SignalForTest("probe", syscall.SIGKILL) }},
		{"reloaded", func() error { return h.Reload(ctx, "probe") }},
		{"killed again", func() error { return h.SignalForTest("probe", syscall.SIGKILL) }},
	} {
		before := pid
		if err := end.end(); err != nil {
			t.Fatalf("%s: %v", end.how, err)
		}
		var now string
		hosttest.Eventually(t, end.how+": another process", func() bool {
			pid, now = askProbe(ctx, one)
			return pid != "" && pid != before
		})
		if now != first {
			t.Errorf("%s: the instance was %s and is %s", end.how, first, now)
		}
	}
}

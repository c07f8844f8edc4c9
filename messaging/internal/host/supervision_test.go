// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/parleymq/parley/messaging/internal/host"
	"github.com/parleymq/parley/messaging/internal/hosttest"
	"github.com/parleymq/parley/plugin/driver"
)

// A driver that keeps dying is left alone: what needs it fails at once, with the cause, until
// one try works.
func TestBreakerOpensAndCloses(t *testing.T) {
	s := newShop(t)
	s.putFake("fake")
	h, ev := newShopHost(t, s, func(o *host.Options) {
		o.BreakerFailures, o.BreakerPause, o.StableTime = 3, time.Second, 500*time.Millisecond
		o.BackoffMin = 10 * time.Millisecond
	})
	c := openFake(t, h)
	l := listen(t, c)
	s.put("fake", "#!/bin/sh\necho no disk left >&2\nexit 9\n")
	if err := h.SignalForTest("fake", syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	hosttest.Eventually(t, "the breaker opens", func() bool { return only(t, h).Phase == host.Broken })

	began := time.Now()
	err := c.Send(within(t, 20*time.Second), []*driver.Message{cast("broken")})
	took := time.Since(began)
	e := driver.AsError(err)
	if err == nil || e.Reason != driver.ReasonDriverGone || e.InDoubt || took > 5*time.Second {
		t.Fatalf("send while broken, after %v: %v", took, err)
	}
	for _, text := range []string{"failed too often", "exited with code 9", "no disk left"} {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%q is missing in: %v", text, err)
		}
	}
	if _, err := h.Open(within(t, 20*time.Second), host.OpenRequest{Config: driver.Config{Driver: "fake"}}); err == nil || !strings.Contains(err.Error(), "no disk left") {
		t.Errorf("open while broken: %v", err)
	}
	r := only(t, h)
	if r.PID != 0 || r.Err == nil || r.RetryAt.IsZero() {
		t.Errorf("running: %+v", r)
	}

	// A probe that fails leaves it open, one that works closes it.
	hosttest.Eventually(t, "a probe fails", func() bool {
		return only(t, h).RetryAt.After(r.RetryAt)
	})
	s.putFake("fake")
	hosttest.Eventually(t, "it works again", func() bool { return only(t, h).Phase == host.Ready })
	exchange(t, c, l, "after")
	want := []host.Phase{host.Ready, host.Restarting, host.Broken, host.Ready}
	if got := slices.Compact(ev.phases()); !slices.Equal(got, want) {
		t.Errorf("phases %v, want %v", got, want)
	}
}

func TestResetTriesAtOnce(t *testing.T) {
	s := newShop(t)
	s.putFake("fake")
	h, _ := newShopHost(t, s, func(o *host.Options) {
		o.BreakerFailures, o.BreakerPause, o.BackoffMin = 2, time.Hour, 10*time.Millisecond
	})
	c := openFake(t, h)
	l := listen(t, c)
	s.put("fake", "#!/bin/sh\nexit 9\n")
	if err := h.SignalForTest("fake", syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	hosttest.Eventually(t, "the breaker opens", func() bool { return only(t, h).Phase == host.Broken })
	if err := h.Reset(within(t, 20*time.Second), "fake"); err == nil || !strings.Contains(err.Error(), "code 9") {
		t.Errorf("reset of what is still broken: %v", err)
	}
	s.putFake("fake")
	// The reset began a new count, so that it may have been started by itself meanwhile.
	hosttest.Eventually(t, "it is broken again, or runs", func() bool {
		p := only(t, h).Phase
		return p == host.Broken || p == host.Ready
	})
	if err := h.Reset(within(t, 20*time.Second), ""); err != nil {
		t.Errorf("reset: %v", err)
	}
	hosttest.Eventually(t, "it runs", func() bool { return only(t, h).Phase == host.Ready })
	exchange(t, c, l, "after")
}

// A process that is stopped for a while is degraded, and goes on; its connections are the same.
func TestDegraded(t *testing.T) {
	s := newShop(t)
	s.putFake("fake")
	h, ev := newShopHost(t, s, func(o *host.Options) {
		o.HeartbeatInterval, o.HeartbeatTimeout = 50*time.Millisecond, time.Minute
	})
	c := openFake(t, h)
	l := listen(t, c)
	before := only(t, h)
	if err := h.SignalForTest("fake", syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	hosttest.Eventually(t, "it is degraded", func() bool { return only(t, h).Phase == host.Degraded })
	if r := only(t, h); r.Err == nil || !strings.Contains(r.Err.Error(), "heartbeats") {
		t.Errorf("running: %+v", r)
	}
	if err := syscall.Kill(before.PID, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	hosttest.Eventually(t, "it is ready again", func() bool { r := only(t, h); return r.Phase == host.Ready && r.Err == nil })
	exchange(t, c, l, "after")
	if now := only(t, h); now.PID != before.PID || c.Restarts() != 0 {
		t.Errorf("after %+v: %+v", before, now)
	}
	if _, ok := ev.find("answered again"); !ok {
		t.Error("nobody was told")
	}
}

// A driver in a debugger may be silent for as long as it likes.
func TestDebuggedDriverIsNotKilled(t *testing.T) {
	s := newShop(t)
	s.putFake("fake")
	h, _ := newShopHost(t, s, func(o *host.Options) {
		o.HeartbeatInterval, o.HeartbeatTimeout = 50*time.Millisecond, time.Second
	})
	c := openFake(t, h)
	l := listen(t, c)
	pid := only(t, h).PID
	detach := host.TraceForTest(t, pid)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	hosttest.Eventually(t, "it was silent for too long", func() bool {
		r := only(t, h)
		return r.Phase == host.Degraded && time.Since(r.Since) > 2*time.Second || r.PID != pid
	})
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	detach()
	hosttest.Eventually(t, "it is ready again", func() bool { return only(t, h).Phase == host.Ready })
	if now := only(t, h); now.PID != pid || now.Lives != 1 {
		t.Errorf("it was replaced: %+v", now)
	}
	exchange(t, c, l, "after")
}

// What a Host runs can be read by other programs of its user, as long as it runs.
func TestStatusIsWrittenDown(t *testing.T) {
	s := newShop(t)
	s.putFake("fake")
	dir := shortDir(t)
	h, _ := newShopHost(t, s, func(o *host.Options) { o.RuntimeDir, o.ReloadSignal = dir, syscall.SIGUSR2 })
	c, err := h.Open(within(t, 20*time.Second), host.OpenRequest{Config: driver.Config{Driver: "fake", VirtualHost: "v", HasVirtualHost: true}})
	if err != nil {
		t.Fatal(err)
	}
	read := func() []host.Status {
		all, err := host.ReadStatus(dir)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	hosttest.Eventually(t, "the status is there", func() bool {
		all := read()
		return len(all) == 1 && len(all[0].Drivers) == 1 && all[0].Drivers[0].Phase == host.Ready
	})
	st := read()[0]
	if d := st.Drivers[0]; st.PID != os.Getpid() || st.ReloadSignal == "" || d.PID != only(t, h).PID || d.Driver != "fake" || d.Users != 1 || d.Lives != 1 {
		t.Errorf("status %+v", st)
	}
	if err := c.Reload(within(t, 20*time.Second)); err != nil {
		t.Fatal(err)
	}
	hosttest.Eventually(t, "the reload is noted", func() bool { l := read()[0].Reloads; return len(l) == 1 && l[0].OK && l[0].Driver == "fake" })
	if err := c.Close(within(t, 20*time.Second)); err != nil {
		t.Fatal(err)
	}
	if all := read(); len(all) != 0 {
		t.Errorf("after the end: %+v", all)
	}
}

// At most as many deliveries are in the receiver's hands as it asked for, whatever happens to
// processes.
func TestReceiverIsNotOverrun(t *testing.T) {
	const limit = 4
	s := newShop(t)
	s.putFake("fake")
	h, _ := newShopHost(t, s, nil)
	c := openFake(t, h)
	l := listen(t, c).(driver.Receiver)
	got := make(chan string, 100)
	ctx := within(t, 30*time.Second)
	received := make(chan error, 1)
	go func() {
		received <- l.Receive(ctx, limit, func(ds []*driver.Delivery) {
			for _, d := range ds {
				got <- d.UniqueID
			}
		})
	}()
	send := func(ids ...string) {
		for _, id := range ids {
			if err := c.Send(ctx, []*driver.Message{cast(id)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	send("1", "2", "3")
	for range 3 {
		<-got
	}
	if err := c.Reload(ctx); err != nil {
		t.Fatal(err)
	}
	send("4", "5", "6", "7")
	if id := <-got; id != "4" {
		t.Errorf("received %s", id)
	}
	select {
	case id := <-got:
		t.Errorf("%s came, and four are in our hands", id)
	case <-time.After(300 * time.Millisecond):
	}
	l.Release(3) // those of the process before
	for _, want := range []string{"5", "6", "7"} {
		select {
		case id := <-got:
			if id != want {
				t.Errorf("received %s, want %s", id, want)
			}
		case <-ctx.Done():
			t.Fatalf("%s did not come", want)
		}
	}
	if err := l.(driver.Stopper).Stop(ctx); err != nil {
		t.Error(err)
	}
	if err := <-received; driver.ReasonOf(err) != driver.ReasonClosed {
		t.Errorf("receive ended with %v", err)
	}
}

// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/parleymq/parley/messaging/internal/driverfile"
	"github.com/parleymq/parley/messaging/internal/host"
	"github.com/parleymq/parley/messaging/internal/hosttest"
	"github.com/parleymq/parley/plugin/driver"
)

// shop is a directory of drivers that a test changes while they run.
type shop struct {
	t   *testing.T
	dir string
}

func newShop(t *testing.T) shop { return shop{t: t, dir: hosttest.PrivateDir(t)} }

// put installs a file as one should: aside, and then by a rename.
func (s shop) put(name, text string) string {
	s.t.Helper()
	aside, path := filepath.Join(s.dir, "aside"), filepath.Join(s.dir, "parley-driver-"+name)
	if err := os.WriteFile(aside, []byte(text), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Chmod(aside, 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(aside, path); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// putFake installs the fake driver.
func (s shop) putFake(name string) string {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(host.FakeDriverDir(s.t), "parley-driver-fake"))
	if err != nil {
		s.t.Fatal(err)
	}
	return s.put(name, string(text))
}

// dying is the fake driver for a moment: it is killed after some seconds.
func dying(t *testing.T, seconds string) string {
	return fmt.Sprintf("#!/bin/sh\n(sleep %s; kill -9 $$) >/dev/null 2>&1 &\nexec %s\n",
		seconds, filepath.Join(host.FakeDriverDir(t), "parley-driver-fake"))
}

// events collects what a Host tells.
type events struct {
	mu  sync.Mutex
	all []host.Event // guarded by mu
}

func (e *events) add(ev host.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, ev)
}

// phases lists the phases told since the n-th event, without those of retired processes.
func (e *events) phases() []host.Phase {
	e.mu.Lock()
	defer e.mu.Unlock()
	var list []host.Phase
	for _, ev := range e.all {
		if ev.Message != "it was swapped out" {
			list = append(list, ev.Phase)
		}
	}
	return list
}

// find returns the first event whose message has the text.
func (e *events) find(text string) (host.Event, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	i := slices.IndexFunc(e.all, func(ev host.Event) bool { return strings.Contains(ev.Message, text) })
	if i < 0 {
		return host.Event{}, false
	}
	return e.all[i], true
}

func newShopHost(t *testing.T, s shop, change func(*host.Options)) (*host.Host, *events) {
	t.Helper()
	var ev events
	h := newFakeHost(t, func(o *host.Options) {
		o.DriverPath, o.OnEvent, o.BreakerFailures = []string{s.dir}, ev.add, -1
		o.Trust.Mode = driverfile.TrustOff // what is changed here is trust in nothing else
		if change != nil {
			change(o)
		}
	})
	return h, &ev
}

// only is the one driver that runs.
func only(t *testing.T, h *host.Host) host.Running {
	t.Helper()
	all := h.Running()
	if len(all) != 1 {
		t.Fatalf("running: %+v", all)
	}
	return all[0]
}

// exchange proves that messages get through.
func exchange(t *testing.T, c *host.Conn, l driver.Listener, id string) {
	t.Helper()
	ctx := within(t, 10*time.Second)
	if err := c.Send(ctx, []*driver.Message{cast(id)}); err != nil {
		t.Fatalf("send %s: %v", id, err)
	}
	for {
		ds, err := l.Poll(ctx, 10)
		if err != nil {
			t.Fatalf("poll %s: %v", id, err)
		}
		if slices.ContainsFunc(ds, func(d *driver.Delivery) bool { return d.UniqueID == id }) {
			return
		}
	}
}

func listen(t *testing.T, c *host.Conn) driver.Listener {
	t.Helper()
	l, err := c.Listen(within(t, 10*time.Second), serverSource)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(within(t, 10*time.Second)); err != nil {
			t.Errorf("close the listener: %v", err)
		}
	})
	return l
}

func TestReloadTakesTheNewestVersion(t *testing.T) {
	s := newShop(t)
	s.putFake("fake_v1.0.0")
	h, ev := newShopHost(t, s, nil)
	c := openFake(t, h)
	l := listen(t, c)
	exchange(t, c, l, "before")
	before := only(t, h)

	newer := s.putFake("fake_v1.1.0")
	if err := c.Reload(within(t, 20*time.Second)); err != nil {
		t.Fatal(err)
	}
	now := only(t, h)
	if now.File != newer || now.PID == before.PID || now.Lives != 2 || now.Users != 1 || now.Phase != host.Ready {
		t.Errorf("after %+v: %+v", before, now)
	}
	exchange(t, c, l, "after")
	hosttest.Eventually(t, "the old process is gone", func() bool { return !alive(before.PID) })
	if c.Restarts() != 1 {
		t.Errorf("%d restarts", c.Restarts())
	}
	if _, ok := ev.find("took over"); !ok {
		t.Errorf("nobody was told: %v", ev.phases())
	}
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

func TestReloadThatFailsChangesNothing(t *testing.T) {
	for name, text := range map[string]string{
		"does not start":    "#!/bin/sh\necho it is broken >&2\nexit 3\n",
		"is no driver":      "#!/bin/sh\necho hello\nsleep 100\n",
		"dies when greeted": "#!/bin/sh\n(sleep 0.2; kill -9 $$) >/dev/null 2>&1 &\necho '1|1|unix|/nowhere|grpc'\nsleep 100\n",
	} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t)
			s.putFake("fake")
			h, ev := newShopHost(t, s, func(o *host.Options) { o.StartTimeout = 2 * time.Second })
			c := openFake(t, h)
			l := listen(t, c)
			before := only(t, h)
			s.put("fake_v9.0.0", text)
			err := c.Reload(within(t, 20*time.Second))
			if err == nil {
				t.Fatal("it was taken")
			}
			if name == "does not start" && !strings.Contains(err.Error(), "it is broken") {
				t.Errorf("the cause is missing: %v", err)
			}
			if now := only(t, h); now.PID != before.PID || now.Phase != host.Ready {
				t.Errorf("after %+v: %+v", before, now)
			}
			if _, ok := ev.find("goes on"); !ok {
				t.Error("nobody was told")
			}
			exchange(t, c, l, "after")
		})
	}
}

// A program that dies in its first minute is taken back, even when it was put in the place of
// the one before, and is not started again until another file is there.
func TestRolledBack(t *testing.T) {
	s := newShop(t)
	path := s.putFake("fake")
	h, ev := newShopHost(t, s, nil)
	c := openFake(t, h)
	l := listen(t, c)
	s.put("fake", dying(t, "0.5"))
	if err := h.Reload(within(t, 20*time.Second), "fake"); err != nil {
		t.Fatal(err)
	}
	hosttest.Eventually(t, "it is rolled back", func() bool { _, ok := ev.find("is started again"); return ok })
	hosttest.Eventually(t, "a process is there", func() bool { r := only(t, h); return r.Phase == host.Ready && r.Lives == 3 })
	exchange(t, c, l, "rolled back")

	// It stays with the program before.
	if err := h.SignalForTest("fake", syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	hosttest.Eventually(t, "the next one is there", func() bool { r := only(t, h); return r.Phase == host.Ready && r.Lives == 4 })
	exe, err := os.Readlink("/proc/" + strconv.Itoa(only(t, h).PID) + "/exe")
	if err != nil || exe != path+" (deleted)" {
		t.Errorf("runs %q: %v", exe, err)
	}
	exchange(t, c, l, "still")

	// A file that was not tried yet is.
	s.putFake("fake")
	if err := h.Reload(within(t, 20*time.Second), ""); err != nil {
		t.Fatal(err)
	}
	exe, err = os.Readlink("/proc/" + strconv.Itoa(only(t, h).PID) + "/exe")
	if err != nil || exe != path {
		t.Errorf("runs %q: %v", exe, err)
	}
	exchange(t, c, l, "new")
}

func TestProbationEnds(t *testing.T) {
	s := newShop(t)
	s.putFake("fake_v1.0.0")
	h, ev := newShopHost(t, s, func(o *host.Options) { o.ProbationTime = 200 * time.Millisecond })
	c := openFake(t, h)
	l := listen(t, c)
	newer := s.put("fake_v2.0.0", dying(t, "1.5"))
	if err := c.Reload(within(t, 20*time.Second)); err != nil {
		t.Fatal(err)
	}
	hosttest.Eventually(t, "it was started once more", func() bool { r := only(t, h); return r.Phase == host.Ready && r.Lives == 3 })
	if r := only(t, h); r.File != newer {
		t.Errorf("runs %s", r.File)
	}
	if e, ok := ev.find("is started again"); ok {
		t.Errorf("rolled back: %+v", e)
	}
	exchange(t, c, l, "after")
}

// Deliveries of the process before can be settled after a swap, and are before it ends.
func TestSwapWaitsForOpenDeliveries(t *testing.T) {
	s := newShop(t)
	s.putFake("fake")
	h, _ := newShopHost(t, s, nil)
	c := openFake(t, h)
	src := serverSource
	src.Settle = driver.SettleOnDone
	ctx := within(t, 20*time.Second)
	l, err := c.Listen(ctx, src)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Send(ctx, []*driver.Message{cast("open")}); err != nil {
		t.Fatal(err)
	}
	ds, err := l.Poll(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	before := only(t, h)
	polled := make(chan []*driver.Delivery, 1)
	go func() {
		more, _ := l.Poll(ctx, 1)
		polled <- more
	}()
	if err := c.Reload(ctx); err != nil {
		t.Fatal(err)
	}
	if err := c.Send(ctx, []*driver.Message{cast("new")}); err != nil {
		t.Fatal(err)
	}
	more := <-polled
	if len(more) != 1 || more[0].UniqueID != "new" {
		t.Fatalf("polled %v", more)
	}
	if !alive(before.PID) {
		t.Error("the process ended with a delivery open")
	}
	for _, d := range []*driver.Delivery{ds[0], more[0]} {
		if err := l.Done(ctx, []driver.Outcome{{Token: d.Token, Result: driver.Accepted}}); err != nil {
			t.Errorf("done %s: %v", d.UniqueID, err)
		}
	}
	hosttest.Eventually(t, "the old process is gone", func() bool { return !alive(before.PID) })
	if err := l.Close(ctx); err != nil {
		t.Error(err)
	}
}

func TestWatchedFilesAreTaken(t *testing.T) {
	s := newShop(t)
	s.putFake("fake_v1.0.0")
	h, ev := newShopHost(t, s, func(o *host.Options) { o.WatchFiles = true })
	c := openFake(t, h)
	l := listen(t, c)
	before := only(t, h)
	// A broken one is tried once.
	s.put("fake_v1.0.1", "#!/bin/sh\nexit 3\n")
	hosttest.Eventually(t, "the broken one is refused", func() bool { _, ok := ev.find("goes on"); return ok })
	newer := s.putFake("fake_v1.1.0")
	hosttest.Eventually(t, "the newer one runs", func() bool { return only(t, h).File == newer })
	// What the old process was given while it was being replaced is lost with a fake's memory.
	hosttest.Eventually(t, "the old process is gone", func() bool { return !alive(before.PID) })
	exchange(t, c, l, "after")
}

func TestReloadSignal(t *testing.T) {
	s := newShop(t)
	s.putFake("fake_v1.0.0")
	h, _ := newShopHost(t, s, func(o *host.Options) { o.ReloadSignal = syscall.SIGUSR2 })
	c := openFake(t, h)
	l := listen(t, c)
	before := only(t, h)
	newer := s.putFake("fake_v1.1.0")
	if err := syscall.Kill(os.Getpid(), syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	hosttest.Eventually(t, "the newer one runs", func() bool { return only(t, h).File == newer })
	// What the old process was given while it was being replaced is lost with a fake's memory.
	hosttest.Eventually(t, "the old process is gone", func() bool { return !alive(before.PID) })
	exchange(t, c, l, "after")
}

// Reload, Close and kills at the same time end, and leave nothing.
func TestReloadWhileAllChanges(t *testing.T) {
	s := newShop(t)
	s.putFake("fake")
	h, _ := newShopHost(t, s, func(o *host.Options) { o.ProbationTime = time.Millisecond })
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	keep := openFake(t, h)
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			_ = h.Reload(ctx, "") // may fail: processes are killed meanwhile
		}
	})
	wg.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			if i%5 == 0 {
				_ = h.SignalForTest("fake", syscall.SIGKILL)
			}
			c, err := h.Open(ctx, host.OpenRequest{Config: driver.Config{Driver: "fake", VirtualHost: "v", HasVirtualHost: true}})
			if err != nil {
				continue
			}
			l, err := c.Listen(ctx, serverSource)
			if err == nil {
				_ = l.Close(ctx)
			}
			if err := c.Close(within(t, 10*time.Second)); err != nil {
				t.Errorf("close: %v", err)
			}
		}
	})
	wg.Wait()
	// A swap that had begun goes on without who asked for it; this one comes after it. What an old
	// process is given while it is being replaced is lost with a fake's memory.
	if err := h.Reload(within(t, 20*time.Second), ""); err != nil {
		t.Error(err)
	}
	l := listen(t, keep)
	exchange(t, keep, l, "at last")
}

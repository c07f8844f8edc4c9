// SPDX-License-Identifier: Apache-2.0

package foundation

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

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/plugin/driver"
)

// TestRecordedContract: what is kept is what was, but for the name of the Go package.
func TestRecordedContract(t *testing.T) {
	if !history(t) {
		return
	}
	was := string(command(t, root, "git", "show", Commit+":plugin/proto/driver.proto"))
	kept, err := os.ReadFile("contract/driver.proto")
	must(t, err)
	was = strings.Replace(was, `"github.com/parleymq/parley/plugin/proto;proto"`,
		`"github.com/parleymq/parley/internal/foundation/contract;contract"`, 1)
	if string(kept) != was {
		t.Error("contract/driver.proto is not the foundation's")
	}
}

// TestRecordedDriver: a driver that knows only the contract of those days.
func TestRecordedDriver(t *testing.T) {
	testDriver(t, build(t, root, "internal/foundation/driver", "foundation"), "foundation")
}

// TestFoundationDriver: the fake driver of those days, with the SDK of those days.
func TestFoundationDriver(t *testing.T) {
	if !history(t) {
		return
	}
	source := t.TempDir()
	archive := filepath.Join(source, "source.tar")
	command(t, root, "git", "archive", "-o", archive, Commit)
	command(t, source, "tar", "xf", archive)
	testDriver(t, build(t, source, "plugins/fake", "fake"), "fake")
}

// testDriver is what an application of today asks of an old driver.
func testDriver(t *testing.T, drivers, name string) {
	a := newApp(t, drivers, name+"://")
	t.Run("call", func(t *testing.T) { a.mustEcho(t, "hello") })
	t.Run("error reply", a.testErrorReply)
	t.Run("cast to one", a.testCast)
	t.Run("fanout", a.testFanout)
	t.Run("1 MiB", func(t *testing.T) { a.mustEcho(t, strings.Repeat("m", 1<<20)) })
	t.Run("larger than a frame", a.testLargerThanFrame)
	t.Run("nobody there", a.testNobodyThere)
	t.Run("refused by the driver", func(t *testing.T) { testRefusedByDriver(t, drivers, name) })
	t.Run("queues", a.testQueues)
	t.Run("log level", a.testLogLevel)
	t.Run("killed", a.testKilled)
	t.Run("reload", a.testReload)
}

func (a *app) testErrorReply(t *testing.T) {
	_, err := fails.Call(soon(t), a.c, text{"not that"})
	remote, ok := errors.AsType[*messaging.RemoteError](err)
	if !ok || remote.Class != "ValueError" || remote.Message != "not that" {
		t.Errorf("got %v", err)
	}
}

func (a *app) testCast(t *testing.T) {
	before := a.noted[1].Load()
	must(t, note.Cast(soon(t), a.c.With(messaging.Server("two")), text{"x"}))
	testbed.Eventually(t, patience, "server two gets the cast", func() bool { return a.noted[1].Load() == before+1 })
}

func (a *app) testFanout(t *testing.T) {
	one, two := a.noted[0].Load(), a.noted[1].Load()
	must(t, note.Cast(soon(t), a.c.With(messaging.Fanout()), text{"x"}))
	testbed.Eventually(t, patience, "both servers get the fanout", func() bool {
		return a.noted[0].Load() == one+1 && a.noted[1].Load() == two+1
	})
}

// testLargerThanFrame: an old driver knows no chunks, so the largest message is a frame.
func (a *app) testLargerThanFrame(t *testing.T) {
	pid, begin := a.pid(), time.Now()
	_, err := echo.Call(soon(t), a.c, text{strings.Repeat("m", 17<<20)})
	if !errors.Is(err, messaging.ErrTooLarge) || driver.ReasonOf(err) != driver.ReasonMessageTooLarge {
		t.Errorf("got %v", err)
	}
	if took := time.Since(begin); took > patience/2 {
		t.Errorf("it was refused after %v", took)
	}
	a.mustEcho(t, "still there")
	if got := a.pid(); got != pid {
		t.Errorf("the process changed from %d to %d", pid, got)
	}
}

func (a *app) testNobodyThere(t *testing.T) {
	_, err := echo.Call(soon(t), a.c.With(messaging.Topic("nobody"), messaging.Mandatory()), text{"x"})
	if !errors.Is(err, messaging.ErrUndeliverable) || driver.ReasonOf(err) != driver.ReasonNoRoute {
		t.Errorf("got %v", err)
	}
}

// testQueues: what an old driver does not know is refused and does no harm.
func (a *app) testQueues(t *testing.T) {
	pid := a.pid()
	if _, err := a.t.NotificationQueues(soon(t), []messaging.Target{{Topic: "t"}}, nil, ""); !errors.Is(err, messaging.ErrUnsupported) {
		t.Errorf("got %v", err)
	}
	a.mustEcho(t, "still there")
	if got := a.pid(); got != pid {
		t.Errorf("the process changed from %d to %d", pid, got)
	}
}

// testRefusedByDriver: a reason of the closed list arrives, and a value of an option does.
func testRefusedByDriver(t *testing.T, drivers, name string) {
	a := newApp(t, drivers, name+"://?message_limit=2000")
	a.mustEcho(t, "short")
	_, err := echo.Call(soon(t), a.c, text{strings.Repeat("l", 4000)})
	if !errors.Is(err, messaging.ErrTooLarge) || driver.ReasonOf(err) != driver.ReasonMessageTooLarge {
		t.Errorf("got %v", err)
	}
}

// TestRecordedDriverTakesLevels: the field for it was in the contract from the beginning.
func TestRecordedDriverTakesLevels(t *testing.T) {
	a := newApp(t, build(t, root, "internal/foundation/driver", "foundation"), "foundation://")
	a.level.Set(slog.LevelDebug)
	testbed.Eventually(t, patience, "the driver hears of the level", func() bool {
		return strings.Contains(a.logs.String(), "the level of records changed")
	})
	a.mustEcho(t, "at that level")
}

// testLogLevel: a change of the level does no harm.
func (a *app) testLogLevel(t *testing.T) {
	pid := a.pid()
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelError, slog.LevelDebug} {
		a.level.Set(level)
		a.mustEcho(t, "at another level")
	}
	if got := a.pid(); got != pid {
		t.Errorf("the process changed from %d to %d", pid, got)
	}
}

func (a *app) testKilled(t *testing.T) {
	pid := a.pid()
	must(t, syscall.Kill(pid, syscall.SIGKILL))
	testbed.Eventually(t, patience, "a call is answered by another process", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := echo.Call(ctx, a.c, text{"after"})
		return err == nil && a.pid() != pid
	})
	if a.bed.Running(pid) {
		t.Errorf("process %d is still there", pid)
	}
	a.testFanout(t)
}

func (a *app) testReload(t *testing.T) {
	pid := a.pid()
	err := a.t.Reload(soon(t))
	if errors.Is(err, messaging.ErrUnsupported) {
		t.Skipf("NOT PROVEN: %s: %v", t.Name(), err)
	}
	must(t, err)
	a.mustEcho(t, "by the new process")
	a.testFanout(t)
	testbed.Eventually(t, patience, "the old process ends", func() bool { return !a.bed.Running(pid) })
	if got := a.pid(); got == 0 || got == pid {
		t.Errorf("the process was %d and is %d", pid, got)
	}
}

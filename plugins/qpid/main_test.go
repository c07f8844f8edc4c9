// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/parleymq/parley/plugin/driver"
)

// patience bounds every wait of a test for something that must happen.
const patience = 30 * time.Second

// newVhost is a virtual host of a test's own, for addresses that no other test has.
func newVhost() string { return "test-" + strings.ToLower(rand.Text()) }

// config is that of a Conn to the broker at addr without a login.
func config(t testing.TB, addr, vhost string, logs *logBuffer, options map[string]string) driver.Config {
	t.Helper()
	name, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	values, err := driver.ValidateOptions(optionSpecs(), options)
	if err != nil {
		t.Fatal(err)
	}
	return driver.Config{
		Driver: "qpid", Hosts: []driver.Host{{Name: name, Port: n}}, VirtualHost: vhost, HasVirtualHost: vhost != "",
		Options: values, AppName: "test", Logger: slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

// open opens a Conn that is closed with the test.
func open(t testing.TB, cfg driver.Config) *conn {
	t.Helper()
	c, err := newDriver().Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := c.Close(ctx); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return c.(*conn)
}

func listen(t testing.TB, c *conn, src driver.Source) driver.Listener {
	t.Helper()
	l, err := c.Listen(soon(t), src)
	if err != nil {
		t.Fatalf("Listen: %v", err)
	}
	return l
}

// server is the Source of a server of topic v.
func server(name string, settle driver.Settle) driver.Source {
	return driver.Source{
		Kind: driver.SourceServer, Settle: settle,
		Target: driver.Target{Exchange: "openstack", Topic: "v", Server: name},
	}
}

func replies(name string) driver.Source {
	return driver.Source{Kind: driver.SourceReplies, Settle: driver.SettleOnDone, ReplyName: name}
}

func cast(n int) *driver.Message {
	return &driver.Message{
		Kind: driver.Cast, Target: driver.Target{Exchange: "openstack", Topic: "v"}, UniqueID: uuid.NewString(),
		Body: fmt.Appendf(nil, `{"method": "m", "args": {"n": %d}}`, n),
	}
}

func call(replyTo string) *driver.Message {
	m := cast(0)
	m.Kind, m.ReplyTo, m.CallID, m.TimeLeft = driver.Call, replyTo, uuid.NewString(), time.Minute
	return m
}

func soon(t testing.TB) context.Context { return within(t, patience) }

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// poll collects n deliveries, asking for at most max at a time.
func poll(t testing.TB, l driver.Listener, n, max int) []*driver.Delivery {
	t.Helper()
	ctx := soon(t)
	var all []*driver.Delivery
	for len(all) < n {
		ds, err := l.Poll(ctx, max)
		if err != nil {
			t.Fatalf("Poll after %d of %d: %v", len(all), n, err)
		}
		all = append(all, ds...)
	}
	return all
}

// nothing asserts that l has nothing to give for a moment.
func nothing(t testing.TB, l driver.Listener) {
	t.Helper()
	ds, err := l.Poll(within(t, 200*time.Millisecond), 10)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Poll returned %d deliveries and %v, want nothing", len(ds), err)
	}
}

// doneWith is Done with one result for all.
func doneWith(t testing.TB, l driver.Listener, r driver.Result, ds ...*driver.Delivery) {
	t.Helper()
	var outcomes []driver.Outcome
	for _, d := range ds {
		outcomes = append(outcomes, driver.Outcome{Token: d.Token, Result: r})
	}
	if err := l.Done(soon(t), outcomes); err != nil {
		t.Fatalf("Done: %v", err)
	}
}

// eventually waits for a condition of the broker or the driver.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("it did not happen: %s", what)
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatal("the test ended")
		}
	}
}

// logBuffer keeps log records for a test to look at.
type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

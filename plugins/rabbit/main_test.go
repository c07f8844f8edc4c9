// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/plugin/driver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of a test for something that must happen.
const patience = 20 * time.Second

// bench is a broker's virtual host and the connections that a test makes to it.
type bench struct {
	t      testing.TB
	broker *peertest.RabbitMQ
	vhost  string
	logs   *logBuffer
	tls    *peertest.TLSFiles // how clients speak TLS, nil for plain
	// options are those of each Conn, unless it says otherwise.
	options map[string]string
}

func newBench(t testing.TB, broker *peertest.RabbitMQ) *bench {
	t.Helper()
	return &bench{t: t, broker: broker, vhost: broker.NewVhost(t), logs: &logBuffer{}}
}

func (b *bench) config(options map[string]string) driver.Config {
	b.t.Helper()
	all := map[string]string{}
	maps.Copy(all, b.options)
	maps.Copy(all, options)
	options = all
	if b.tls == nil {
		return config(b.t, b.broker.Addr(), b.vhost, b.logs, options)
	}
	return config(b.t, b.tlsAddr(), b.vhost, b.logs, tlsOptions(b.tls, options))
}

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
		Driver: "rabbit", Hosts: []driver.Host{{Name: name, Port: n}}, VirtualHost: vhost, HasVirtualHost: true,
		Options: values, AppName: "test", Logger: slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

// open opens a Conn that is closed with the test.
func (b *bench) open(options map[string]string) *conn {
	b.t.Helper()
	return open(b.t, b.config(options))
}

func open(t testing.TB, cfg driver.Config) *conn {
	t.Helper()
	c, err := newDriver().Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := c.Close(ctx); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return c.(*conn)
}

func (b *bench) listen(c *conn, src driver.Source) *listener {
	b.t.Helper()
	l, err := c.Listen(soon(b.t), src)
	if err != nil {
		b.t.Fatalf("Listen: %v", err)
	}
	return l.(*listener)
}

// server is the Source of server s1 of topic v.
func server(settle driver.Settle) driver.Source {
	return driver.Source{
		Kind: driver.SourceServer, Settle: settle,
		Target: driver.Target{Exchange: "openstack", Topic: "v", Server: "s1"},
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

func failFast(n int) *driver.Message {
	m := cast(n)
	m.FailFast = true
	return m
}

func call(replyTo string) *driver.Message {
	m := cast(0)
	m.Kind, m.ReplyTo, m.CallID, m.TimeLeft = driver.Call, replyTo, uuid.NewString(), time.Minute
	m.Deadline = time.Now() // which a Python server must not mind
	return m
}

func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func (b *bench) send(c *conn, messages ...*driver.Message) {
	b.t.Helper()
	if err := c.Send(soon(b.t), messages); err != nil {
		b.t.Fatalf("Send: %v", err)
	}
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
		if len(ds) == 0 || len(ds) > max {
			t.Fatalf("Poll(%d) returned %d (POLL-1)", max, len(ds))
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

// settleAll is Done with one result for all.
func settleAll(t testing.TB, l driver.Listener, r driver.Result, ds ...*driver.Delivery) {
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

// raw is a channel of the AMQP library itself, to see and do what a peer would.
func (b *bench) raw() *amqp.Channel {
	b.t.Helper()
	conn, err := amqp.DialConfig("amqp://guest:guest@"+b.broker.Addr(), amqp.Config{Vhost: b.vhost})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = conn.Close() })
	ch, err := conn.Channel()
	if err != nil {
		b.t.Fatal(err)
	}
	return ch
}

// ready is how many messages wait in a queue; -1 when there is no such queue.
func (b *bench) ready(ch **amqp.Channel, queue string) int {
	if *ch == nil || (*ch).IsClosed() {
		*ch = b.raw()
	}
	q, err := (*ch).QueueDeclarePassive(queue, false, false, false, false, nil)
	if err != nil {
		return -1
	}
	return q.Messages
}

// failsWith asserts the reason of a failure.
func failsWith(t testing.TB, err error, want driver.Reason) {
	t.Helper()
	_ = wantReason(t, err, want)
}

// wantReason is failsWith for who wants to see more of the failure.
func wantReason(t testing.TB, err error, want driver.Reason) *driver.Error {
	t.Helper()
	e, ok := errors.AsType[*driver.Error](err)
	if !ok || e.Reason != want {
		t.Fatalf("got %v, want a failure with %s", err, want)
	}
	return e
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

func (l *logBuffer) count(text string) int { return strings.Count(l.String(), text) }

// states records what a Conn reports.
type states struct {
	mu   sync.Mutex
	seen []driver.State
}

func (s *states) report(st driver.State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, st)
}

func (s *states) last() driver.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.seen) == 0 {
		return driver.State{}
	}
	return s.seen[len(s.seen)-1]
}

func (s *states) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprint(s.seen)
}

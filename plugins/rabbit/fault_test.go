// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/testkit"
)

// proxy is a TCP relay between driver and broker that can be cut and stopped.
type proxy struct {
	listener net.Listener
	target   string
	wg       sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn
	mute  bool // swallow what the broker says
}

func newProxy(t testing.TB, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	testkit.Must(t, err)
	p := &proxy{listener: l, target: target}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close()
		p.cut()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) accept() {
	for {
		in, err := p.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = in.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, in, out)
		p.mu.Unlock()
		p.wg.Go(func() { p.relay(out, in, false) })
		p.wg.Go(func() { p.relay(in, out, true) })
	}
}

func (p *proxy) relay(to, from net.Conn, answers bool) {
	defer func() { _ = errors.Join(to.Close(), from.Close()) }()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		p.mu.Lock()
		mute := p.mute && answers
		p.mu.Unlock()
		if mute {
			continue
		}
		if _, err := to.Write(buf[:n]); err != nil && !errors.Is(err, io.EOF) {
			return
		}
	}
}

func (p *proxy) setMute(mute bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mute = mute
}

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}

// testCut cuts the connection under messages whose confirms the broker has sent and the driver
// has not seen: they are in doubt, are not sent again, and all else works on.
func testCut(b *bench) {
	p := newProxy(b.t, b.broker.Addr())
	c := open(b.t, testkit.Config(b.t, newDriver(), p.listener.Addr().String(), b.vhost, b.logs, nil))
	direct := b.open(nil)
	l := b.listen(c, server(driver.SettleOnDone))
	watch := b.listen(direct, driver.Source{Kind: driver.SourceServer, Settle: driver.SettleOnPoll, Target: driver.Target{Exchange: "openstack", Topic: "w", Server: "x"}})
	toW := func(n int) *driver.Message { m := testkit.Cast(n); m.Target.Topic = "w"; return m }
	b.send(c, testkit.Cast(0), toW(0))
	held := testkit.Poll(soon(b.t), b.t, l, 1, 5)
	testkit.Poll(soon(b.t), b.t, watch, 1, 5)

	p.setMute(true)
	result := make(chan error, 1)
	go func() { result <- c.Send(soon(b.t), []*driver.Message{toW(1), toW(2)}) }()
	testkit.Poll(soon(b.t), b.t, watch, 2, 5) // the broker has them
	p.cut()
	p.setMute(false)
	err := <-result
	for i := range 2 {
		if e := testkit.Failure(b.t, driver.MessageErr(err, i), driver.ReasonNotConnected); !e.InDoubt {
			b.t.Errorf("not in doubt: %v (SEND-5)", e)
		}
	}
	testkit.Settle(soon(b.t), b.t, l, driver.Accepted, held...) // of the broken connection (DONE-2)
	again := testkit.Poll(soon(b.t), b.t, l, 1, 5)              // which the broker gives again (LISTEN-6, POLL-7)
	if !again[0].Redelivered {
		b.t.Errorf("got %+v", again[0])
	}
	testkit.Settle(soon(b.t), b.t, l, driver.Accepted, held...) // late, and no harm to the new one
	testkit.Settle(soon(b.t), b.t, l, driver.Accepted, again...)
	b.send(c, toW(3))
	testkit.Poll(soon(b.t), b.t, watch, 1, 5)
	testkit.Nothing(b.t, watch)
	testkit.Nothing(b.t, l)
}

// TestConnectFails is SEND-4 and LISTEN's part of it.
func TestConnectFails(t *testing.T) {
	broker := peertest.RunSharedRabbitMQ(t)
	b := newBench(t, broker)
	refused := func(cfg *driver.Config) { cfg.Hosts[0].Port = 1 }
	for _, tt := range []struct {
		name   string
		change func(*driver.Config)
		reason driver.Reason
		atOnce bool
	}{
		{"refused port", refused, driver.ReasonNotConnected, false},
		{"wrong password", func(cfg *driver.Config) { cfg.Hosts[0].Password = "wrong-s3cr3t" }, driver.ReasonAuthRefused, true},
		{"wrong password PLAIN", func(cfg *driver.Config) {
			cfg.Hosts[0].Password = "wrong-s3cr3t"
			cfg.Options[optLoginMethod] = loginPlain
		}, driver.ReasonAuthRefused, true},
		{"missing vhost", func(cfg *driver.Config) { cfg.VirtualHost = "no such" }, driver.ReasonVirtualHostMissing, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := b.config(nil)
			st := testkit.NewStates()
			cfg.Report = st.Report
			tt.change(&cfg)
			c := open(t, cfg)
			wait := patience
			if !tt.atOnce {
				wait = 300 * time.Millisecond
			}
			started := time.Now()
			e := testkit.Failure(t, c.Send(testkit.Within(t, wait), []*driver.Message{testkit.Cast(1)}), tt.reason)
			if took := time.Since(started); tt.atOnce && took > patience/2 || !tt.atOnce && took < wait {
				t.Errorf("Send took %v", took)
			}
			if e.InDoubt || strings.Contains(e.Error()+b.logs.String()+st.String(), "wrong-s3cr3t") {
				t.Errorf("got %v (OPEN-4)", e)
			}
			// At once, though the time would allow to wait (SEND-10).
			e = testkit.Failure(t, c.Send(soon(t), []*driver.Message{failFast(1)}), tt.reason)
			if e.InDoubt {
				t.Errorf("not sent, and in doubt: %v", e)
			}
			_, err := c.Listen(testkit.Within(t, wait), server(driver.SettleOnPoll))
			testkit.FailsWith(t, err, tt.reason)
			if last := st.Last(); last.Phase != driver.Connecting || driver.ReasonOf(last.Err) != tt.reason {
				t.Errorf("the state is %v (STATE-1)", last)
			}
		})
	}
	t.Run("second host works", func(t *testing.T) {
		cfg := b.config(nil)
		cfg.Hosts = append([]driver.Host{{Name: "127.0.0.1", Port: 1}}, cfg.Hosts...)
		c := open(t, cfg)
		testkit.Must(t, c.Send(soon(t), []*driver.Message{testkit.Cast(1)}))
	})
}

// TestFaults needs a broker of its own: it is killed, stopped and short of memory.
func TestFaults(t *testing.T) {
	broker := peertest.RunRabbitMQ(t, &peertest.RabbitMQOptions{Config: "max_message_size = 400000\n"})
	t.Run("SEND-8 too large", func(t *testing.T) { testTooLarge(newBench(t, broker)) })
	t.Run("blocked", func(t *testing.T) { testBlocked(newBench(t, broker)) })
	t.Run("frozen", func(t *testing.T) { testFrozen(newBench(t, broker)) })
	t.Run("killed and restarted", func(t *testing.T) { testKilled(t, broker) })
}

func testTooLarge(b *bench) {
	c := b.open(nil)
	l := b.listen(c, server(driver.SettleOnPoll))
	large := func() *driver.Message {
		m := testkit.Cast(1)
		m.Body = []byte(`{"method": "` + strings.Repeat("x", 500_000) + `"}`)
		return m
	}
	batch := []*driver.Message{testkit.Cast(0), large(), testkit.Cast(2), large(), testkit.Cast(4)}
	err := c.Send(soon(b.t), batch)
	for i := range batch {
		e := driver.MessageErr(err, i)
		if i%2 == 1 {
			testkit.FailsWith(b.t, e, driver.ReasonMessageTooLarge)
		} else if e != nil {
			b.t.Errorf("message %d was harmed: %v", i, e)
		}
	}
	testkit.Poll(soon(b.t), b.t, l, 3, 10)
}

func testBlocked(b *bench) {
	st := testkit.NewStates()
	cfg := b.config(nil)
	cfg.Report = st.Report
	c := open(b.t, cfg)
	l := b.listen(c, server(driver.SettleOnPoll))
	b.send(c, testkit.Cast(0))
	testkit.Poll(soon(b.t), b.t, l, 1, 1)
	ctl := func(args ...string) {
		_, err := b.broker.Ctl(soon(b.t), args...)
		testkit.Must(b.t, err)
	}
	ctl("set_vm_memory_high_watermark", "absolute", "1MB")
	relax := sync.OnceFunc(func() { ctl("set_vm_memory_high_watermark", "absolute", "2GB") })
	defer relax()
	// The broker says so after the connection published again.
	first := make(chan error, 1)
	go func() { first <- c.Send(soon(b.t), []*driver.Message{testkit.Cast(1)}) }()
	eventually(b.t, "the state is Blocked", func() bool { return st.Last().Phase == driver.Blocked })
	e := testkit.Failure(b.t, c.Send(testkit.Within(b.t, 300*time.Millisecond), []*driver.Message{testkit.Cast(2)}), driver.ReasonBrokerBlocked)
	if e.InDoubt {
		b.t.Errorf("not sent, and in doubt: %v", e)
	}
	e = testkit.Failure(b.t, c.Send(soon(b.t), []*driver.Message{failFast(4)}), driver.ReasonBrokerBlocked) // SEND-10
	if e.InDoubt {
		b.t.Errorf("not sent, and in doubt: %v", e)
	}
	relax()
	testkit.Must(b.t, <-first)
	eventually(b.t, "the state is Ready", func() bool { return st.Last().Phase == driver.Ready })
	b.send(c, testkit.Cast(3))
	testkit.Poll(soon(b.t), b.t, l, 2, 10)
}

// testFrozen stops the broker's process: a send ends with its ctx and is in doubt, and a
// Close ends with its own.
func testFrozen(b *bench) {
	c := b.open(map[string]string{optHeartbeat: "2"})
	b.send(c, testkit.Cast(0))
	testkit.Must(b.t, b.broker.Pause())
	resume := sync.OnceFunc(func() { testkit.Must(b.t, b.broker.Resume()) })
	defer resume()
	var started time.Time
	var err error
	eventually(b.t, "a message is not confirmed", func() bool { // the process stops soon after the signal
		started = time.Now()
		err = c.Send(testkit.Within(b.t, 500*time.Millisecond), []*driver.Message{testkit.Cast(1)})
		return err != nil
	})
	if took := time.Since(started); took > 2*time.Second {
		b.t.Errorf("Send took %v", took)
	}
	if e, ok := errors.AsType[*driver.Error](err); !ok || !e.InDoubt {
		b.t.Errorf("got %v", err)
	}
	eventually(b.t, "the heartbeat notices", func() bool { return b.logs.Count("connection lost") > 0 })
	if err := c.Send(testkit.Within(b.t, 100*time.Millisecond), []*driver.Message{testkit.Cast(2)}); driver.ReasonOf(err) != driver.ReasonNotConnected {
		b.t.Errorf("got %v", err)
	}
	second := b.open(nil)
	started = time.Now()
	testkit.Must(b.t, second.Close(testkit.Within(b.t, 300*time.Millisecond)))
	if took := time.Since(started); took > 2*time.Second {
		b.t.Errorf("Close took %v (CLOSE-3)", took)
	}
	resume()
	b.send(c, testkit.Cast(3))
}

func testKilled(t *testing.T, broker *peertest.RabbitMQ) {
	b := newBench(t, broker)
	st := testkit.NewStates()
	cfg := b.config(nil)
	cfg.Report = st.Report
	c := open(t, cfg)
	l := b.listen(c, server(driver.SettleOnPoll))
	r := b.listen(c, testkit.Replies("reply_k"))
	b.send(c, testkit.Cast(0))
	testkit.Poll(soon(t), t, l, 1, 1)
	testkit.Must(t, broker.Kill())
	eventually(t, "the state is Connecting", func() bool { return st.Last().Phase == driver.Connecting && st.Last().Err != nil })
	testkit.FailsWith(t, c.Send(testkit.Within(t, 200*time.Millisecond), []*driver.Message{testkit.Cast(1)}), driver.ReasonNotConnected)
	waiting := make(chan error, 1)
	// A busy machine may need minutes to start the broker.
	go func() { waiting <- c.Send(testkit.Within(t, 5*time.Minute), []*driver.Message{testkit.Cast(2)}) }()
	testkit.Must(t, broker.Restart(t.Context()))
	up := time.Now()
	testkit.Must(t, <-waiting)
	m := testkit.Cast(3)
	m.Mandatory = true
	eventually(t, "the server is bound again (LISTEN-6)", func() bool { return c.Send(soon(t), []*driver.Message{m}) == nil })
	ds := testkit.Poll(soon(t), t, l, 1, 10)
	if took := time.Since(up); took > 5*time.Second {
		t.Errorf("recovery took %v", took)
	}
	_ = ds
	b.send(c, &driver.Message{Kind: driver.Reply, ReplyTo: "reply_k", CallID: "c", Body: []byte("1")})
	testkit.Settle(soon(t), t, r, driver.Accepted, testkit.Poll(soon(t), t, r, 1, 1)...)
	if last := st.Last(); last.Phase != driver.Ready {
		t.Errorf("the state is %v", last)
	}
}

// TestCutsUnderLoad cuts the connection again and again under load: every message gets one
// result (ASYNC-1), and whatever was accepted arrives (SEND-1), though all of it comes through
// connections that are cut as well (POLL-5, LISTEN-6).
func TestCutsUnderLoad(t *testing.T) {
	b := newBench(t, peertest.RunSharedRabbitMQ(t))
	p := newProxy(t, b.broker.Addr())
	c := open(t, testkit.Config(t, newDriver(), p.listener.Addr().String(), b.vhost, b.logs, nil))
	l := b.listen(c, server(driver.SettleOnDone))
	const n, cuts = 6000, 6
	var mu sync.Mutex
	accepted, doubtful, failed := make(map[string]bool), 0, 0
	var wg sync.WaitGroup
	wg.Add(n)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for i := range n {
			m := testkit.Cast(i)
			c.SendAsync(t.Context(), []*driver.Message{m}, func(_ int, err error) {
				mu.Lock()
				defer mu.Unlock()
				defer wg.Done()
				switch e, _ := errors.AsType[*driver.Error](err); {
				case err == nil:
					accepted[m.UniqueID] = true
				case e != nil && e.InDoubt:
					doubtful++
				default:
					failed++
					t.Errorf("message %d: %v", i, err)
				}
			})
			if i%(n/cuts) == n/cuts/2 {
				p.cut()
			}
		}
	}()
	received := make(map[string]int)
	missing := func() int {
		mu.Lock()
		defer mu.Unlock()
		left := 0
		for id := range accepted {
			if received[id] == 0 {
				left++
			}
		}
		return left + n - len(accepted) - doubtful - failed
	}
	ctx := testkit.Within(t, time.Minute)
	for missing() > 0 {
		ds, err := l.Poll(ctx, 100)
		if err != nil {
			t.Fatalf("%d messages did not come: %v", missing(), err)
		}
		for _, d := range ds {
			received[d.UniqueID]++
		}
		testkit.Settle(soon(t), t, l, driver.Accepted, ds...)
	}
	<-sent
	wg.Wait()
	t.Logf("%d accepted, %d in doubt, %d received", len(accepted), doubtful, len(received))
}

// TestConsumeRefused: a broker that lets a queue be made and not read is asked again now and then,
// not all the time, and serves when it allows it.
func TestConsumeRefused(t *testing.T) {
	b := newBench(t, peertest.RunSharedRabbitMQ(t))
	const user, password = "no-reader", "x"
	testkit.Must(t, errors.Join(b.broker.AddUser(t.Context(), user, password), b.broker.Permit(t.Context(), user, b.vhost, ".*", ".*", "^openstack$|_fanout$")))
	cfg := b.config(map[string]string{"rabbit_retry_interval": "0.2"})
	cfg.Hosts[0].User, cfg.Hosts[0].Password = user, password
	l, err := open(t, cfg).Listen(soon(t), server(driver.SettleOnPoll))
	testkit.Must(t, err)
	b.send(b.open(nil), testkit.Cast(1))
	_, err = l.Poll(testkit.Within(t, time.Second), 1)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	if n := b.logs.Count("cannot consume"); n < 1 || n > 6 {
		t.Errorf("the broker was asked %d times in a second:\n%s", n, b.logs)
	}
	testkit.Must(t, b.broker.Allow(t.Context(), user, b.vhost))
	testkit.Poll(soon(t), t, l, 1, 1)
}

// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/zmq/internal/registry"
	"github.com/parleymq/parley/plugins/zmq/internal/wire"
	"github.com/parleymq/parley/plugins/zmq/internal/zmtp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testWait bounds every wait of a test for something that must happen.
const testWait = 30 * time.Second

// world is the nodes of a test, which find each other in memory.
type world struct {
	testing.TB
	memory *memory
	log    *logBook
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	return &world{TB: tb, memory: newMemory(), log: &logBook{tb: tb}}
}

// open starts a node that is checked and closed with the test.
func (w *world) open(change ...func(*Options)) *Node {
	w.Helper()
	o := Options{
		Bind: []string{"tcp://127.0.0.1:0"}, Registry: w.memory.open(), Logger: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		RouteWait: 100 * time.Millisecond, Name: "test",
	}
	for _, f := range change {
		f(&o)
	}
	n, err := Open(o)
	if err != nil {
		w.Fatalf("open: %v", err)
	}
	w.Cleanup(func() { w.close(n) })
	if w.memory.gate == nil {
		w.until("the first discovery", func() bool { return n.isReady() })
	}
	return n
}

// close ends a node, whose books must be right before and empty after.
func (w *world) close(n *Node) {
	w.Helper()
	w.check(n)
	ctx, cancel := context.WithTimeout(context.Background(), testWait)
	defer cancel()
	if err := n.Close(ctx); err != nil {
		w.Errorf("close: %v", err)
	}
	w.checkClosed(n)
}

// kill ends a node without a word to anybody, as SIGKILL does.
func (w *world) kill(n *Node) {
	w.Helper()
	w.check(n)
	n.mu.Lock()
	n.phase = closed
	n.failAll()
	var conns []*zmtp.Conn
	for _, p := range n.peers {
		for _, l := range p.links {
			conns = append(conns, l.conn)
		}
		p.settle = settlements{}
		clear(p.in)
	}
	for l := range n.listeners {
		l.ready, l.bytes, l.stopped = queue[*inbound]{}, 0, true
		clear(l.unsettled)
		delete(n.listeners, l)
		signal(l.wake)
	}
	n.mu.Unlock()
	n.cancel()
	n.closeDoors()
	for _, c := range conns {
		_ = c.Close()
	}
	_ = n.o.Registry.Close(context.Background())
	n.wg.Wait()
}

func (n *Node) isReady() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.phase != searching
}

// until waits for something that is about to become true.
func (w *world) until(what string, ok func() bool) {
	w.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	end := time.NewTimer(testWait)
	defer end.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-end.C:
			w.Fatalf("still not after %v: %s", testWait, what)
		}
	}
}

// soon is a ctx for what does not take long.
func (w *world) soon() context.Context { return w.within(testWait) }

func (w *world) within(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	w.Cleanup(cancel)
	return ctx
}

// listen starts a listener of n.
func (w *world) listen(n *Node, src driver.Source) *Listener {
	w.Helper()
	l, err := n.Listen(w.soon(), src)
	if err != nil {
		w.Fatalf("listen: %v", err)
	}
	return l.(*Listener)
}

func server(topic, name string) driver.Source {
	return driver.Source{
		Kind: driver.SourceServer, Settle: driver.SettleOnDone, AtMostOnce: true,
		Target: driver.Target{Exchange: "x", Topic: topic, Server: name},
	}
}

func replies(name string) driver.Source {
	return driver.Source{Kind: driver.SourceReplies, Settle: driver.SettleOnDone, ReplyName: name}
}

func notifications(topic, pool string) driver.Source {
	return driver.Source{
		Kind: driver.SourceNotifications, Settle: driver.SettleOnDone, Pool: pool,
		Notifications: []driver.NotificationTopic{{Exchange: "x", Topic: topic, Priority: "info"}},
	}
}

// cast is a message to a topic; id is its UniqueID.
func cast(topic, id string) *driver.Message {
	return &driver.Message{
		Kind: driver.Cast, Target: driver.Target{Exchange: "x", Topic: topic}, UniqueID: id, Body: []byte(`{"method":"m"}`),
	}
}

func fanoutTo(topic, id string) *driver.Message {
	m := cast(topic, id)
	m.Target.Fanout = true
	return m
}

func notify(topic, id string) *driver.Message {
	m := cast(topic, id)
	m.Kind, m.Priority, m.Format = driver.Notification, "info", driver.NotificationV2
	return m
}

func reply(to, id string) *driver.Message {
	return &driver.Message{Kind: driver.Reply, ReplyTo: to, CallID: id, UniqueID: "r-" + id, Body: []byte(`"` + id + `"`)}
}

// send sends one message, and returns what became of it.
func (w *world) send(n *Node, m *driver.Message) error {
	w.Helper()
	return n.Send(w.soon(), []*driver.Message{m})
}

func (w *world) mustSend(n *Node, m *driver.Message) {
	w.Helper()
	if err := w.send(n, m); err != nil {
		w.Fatalf("send %s: %v", m.UniqueID, err)
	}
}

// begin sends one message and returns where its fate will be told.
func (w *world) begin(n *Node, m *driver.Message) <-chan error {
	fate := make(chan error, 1)
	n.SendAsync(w.soon(), []*driver.Message{m}, func(_ int, err error) { fate <- err })
	return fate
}

func (w *world) fate(c <-chan error) error {
	w.Helper()
	select {
	case err := <-c:
		return err
	case <-time.After(testWait):
		w.Fatal("nobody tells what became of a message")
		return nil
	}
}

// poll is the next delivery.
func (w *world) poll(l *Listener) *driver.Delivery {
	w.Helper()
	ds, err := l.Poll(w.soon(), 1)
	if err != nil {
		w.Fatalf("poll: %v", err)
	}
	return ds[0]
}

// wantNothing polls in vain.
func (w *world) wantNothing(l *Listener, d time.Duration) {
	w.Helper()
	if ds, err := l.Poll(w.within(d), 1); err == nil {
		w.Errorf("got %s, want nothing", ds[0].UniqueID)
	}
}

func (w *world) done(l *Listener, d *driver.Delivery, r driver.Result) {
	w.Helper()
	if err := l.Done(w.soon(), []driver.Outcome{{Token: d.Token, Result: r}}); err != nil {
		w.Errorf("done: %v", err)
	}
}

// accept polls the next delivery, which must be that of id, and is done with it.
func (w *world) accept(l *Listener, id string) *driver.Delivery {
	w.Helper()
	d := w.poll(l)
	if d.UniqueID != id {
		w.Fatalf("got %s, want %s", d.UniqueID, id)
	}
	w.done(l, d, driver.Accepted)
	return d
}

// wantError checks what a message failed of.
func (w *world) wantError(err error, reason driver.Reason, inDoubt bool) {
	w.Helper()
	e, ok := errors.AsType[*driver.Error](err)
	if !ok {
		w.Fatalf("got %v, want a driver's error", err)
	}
	if e.Reason != reason || e.InDoubt != inDoubt {
		w.Errorf("got %v (%v, in doubt %v), want %v, %v", e, e.Reason, e.InDoubt, reason, inDoubt)
	}
}

// linked waits until two nodes have a link that both know.
func (w *world) linked(a, b *Node) {
	w.Helper()
	w.until("a link", func() bool { return a.links(b.id) > 0 && b.links(a.id) > 0 })
}

func (n *Node) links(id string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p := n.peers[id]; p != nil {
		return len(p.links)
	}
	return 0
}

// knows waits until n can send to a topic.
func (w *world) knows(n *Node, topic string, count int) {
	w.Helper()
	k := key{kind: driver.SourceServer, exchange: "x", topic: topic}
	w.until(fmt.Sprint(count, " servers of ", topic), func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return len(n.candidates(k)) == count
	})
}

// idle waits until nothing of n is under way.
func (w *world) idle(n *Node) {
	w.Helper()
	w.until("nothing is under way", func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.pending.count == 0
	})
}

// stranger is a peer whose every packet the test decides.
type stranger struct {
	*world
	id      string
	conn    *zmtp.Conn
	packets chan *wire.Packet // closed with the connection
	held    []*wire.Packet    // came while another type was waited for
	version uint64
	seq     uint64
}

// dial connects a stranger that says nothing yet.
func (w *world) dial(n *Node, id string) *stranger {
	w.Helper()
	conn, err := zmtp.Dial(w.soon(), n.endpoints[0], zmtp.Options{Identity: id})
	if err != nil {
		w.Fatalf("dial: %v", err)
	}
	s := &stranger{world: w, id: id, conn: conn, packets: make(chan *wire.Packet, 100_000)}
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(s.packets)
		for {
			frames, err := conn.Recv()
			if err != nil {
				return
			}
			if p, err := wire.Decode(frames); err == nil {
				s.packets <- p
			}
		}
	})
	w.Cleanup(func() {
		_ = conn.Close()
		wg.Wait()
	})
	return s
}

func (s *stranger) send(p *wire.Packet) {
	s.Helper()
	if err := s.conn.Send(p.Append(nil)); err != nil {
		s.Logf("the stranger cannot send: %v", err)
	}
}

// join says hello, and waits until the node knows what the stranger listens to.
func (s *stranger) join(instance string, targets ...registry.Target) *stranger {
	s.Helper()
	s.hello(instance, targets...)
	s.next(wire.Hello)
	s.next(wire.Welcome)
	return s
}

func (s *stranger) hello(instance string, targets ...registry.Target) {
	s.version++
	s.send(&wire.Packet{Type: wire.Hello, Sync: true, Number: s.version, Record: &registry.Record{
		Node: s.id, Instance: instance, Name: "stranger", Targets: targets, Version: s.version,
	}})
}

// change says what it listens to from now on.
func (s *stranger) change(instance string, targets ...registry.Target) {
	s.Helper()
	s.hello(instance, targets...)
	s.next(wire.Welcome)
}

// settle answers for one message.
func (s *stranger) ack(seq uint64) {
	s.send(&wire.Packet{Type: wire.Settle, Acked: []wire.Range{{From: seq, To: seq}}})
}

func (s *stranger) settleDone(seq uint64) {
	s.send(&wire.Packet{Type: wire.Settle, Done: []wire.Range{{From: seq, To: seq}}})
}

func (s *stranger) nack(seq uint64, why wire.NackReason, after time.Duration) {
	s.send(&wire.Packet{Type: wire.Settle, Nacks: []wire.Nack{{Seq: seq, Reason: why, RetryAfter: after}}})
}

// cast sends the node a message of its own, and returns its number.
func (s *stranger) cast(m *driver.Message) uint64 {
	s.seq++
	t := wire.Cast
	if m.Kind == driver.Call {
		t = wire.Call
	}
	s.send(&wire.Packet{Type: t, Seq: s.seq, Message: *m})
	return s.seq
}

// end breaks the connection.
func (s *stranger) end() { _ = s.conn.Close() }

// quiet checks that no message comes for a while.
func (s *stranger) quiet(d time.Duration) {
	s.Helper()
	for _, p := range s.held {
		if p.Type <= wire.Heartbeat {
			s.Errorf("a stranger was given %s, want nothing", p.Message.UniqueID)
		}
	}
	timeout := time.After(d)
	for {
		select {
		case p, ok := <-s.packets:
			if !ok {
				return
			}
			if p.Type <= wire.Heartbeat {
				s.Errorf("a stranger was given %s, want nothing", p.Message.UniqueID)
			}
		case <-timeout:
			return
		}
	}
}

// serves is a target of a record.
func serves(topic string) registry.Target {
	return registry.Target{Kind: driver.SourceServer, Exchange: "x", Topic: topic}
}

func servesAtLeastOnce(topic string) registry.Target {
	t := serves(topic)
	t.AtLeastOnce = true
	return t
}

// next is the next packet of the wanted type.
func (s *stranger) next(t wire.Type) *wire.Packet {
	s.Helper()
	if i := slices.IndexFunc(s.held, func(p *wire.Packet) bool { return p.Type == t }); i >= 0 {
		p := s.held[i]
		s.held = slices.Delete(s.held, i, i+1)
		return p
	}
	timeout := time.After(testWait)
	for {
		select {
		case p, ok := <-s.packets:
			if !ok {
				s.Fatalf("the connection ended, want a packet of type %d", t)
			}
			if p.Type == t {
				return p
			}
			if p.Type <= wire.Settle {
				s.held = append(s.held, p)
			}
		case <-timeout:
			s.Fatalf("no packet of type %d", t)
		}
	}
}

// wantEnd waits until the node has closed the connection.
func (s *stranger) wantEnd() {
	s.Helper()
	select {
	case <-s.conn.Done():
	case <-time.After(testWait):
		s.Fatal("the connection is still open")
	}
}

// logBook keeps what was logged.
type logBook struct {
	mu    sync.Mutex
	tb    testing.TB
	lines []string // guarded by mu
}

func (b *logBook) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.lines) < 100_000 {
		b.lines = append(b.lines, string(line))
	}
	return len(line), nil
}

// has reports how often a text was logged.
func (b *logBook) has(text string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	count := 0
	for _, line := range b.lines {
		if strings.Contains(line, text) {
			count++
		}
	}
	return count
}

// strangerID is the id of the test's nth stranger.
func strangerID(n int) string { return fmt.Sprintf("%032x", n+1) }

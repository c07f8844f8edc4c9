// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/zmq/internal/wire"
)

// behind opens a node whose peers reach it through a proxy only.
func (w *world) behind(change ...func(*Options)) (*Node, *proxy) {
	w.Helper()
	n := w.open(change...)
	p := newProxy(w, strings.TrimPrefix(n.endpoints[0], "tcp://"))
	n.mu.Lock()
	n.endpoints = []string{p.endpoint()}
	n.announceNow()
	n.mu.Unlock()
	if err := n.publish(w.soon()); err != nil {
		w.Fatal(err)
	}
	return n, p
}

// ledger is what became of calls.
type ledger struct {
	mu      sync.Mutex
	ran     map[string]int        // how often the server ran each
	waiting map[string]chan error // for the reply
}

func newLedger() *ledger {
	return &ledger{ran: make(map[string]int), waiting: make(map[string]chan error)}
}

// serve runs calls until the listener ends, and replies from n.
func (b *ledger) serve(w *world, n *Node, l *Listener) (wait func()) {
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	wg.Go(func() {
		for {
			ds, err := l.Poll(ctx, 64)
			if err != nil {
				return
			}
			for _, d := range ds {
				b.mu.Lock()
				b.ran[d.UniqueID]++
				b.mu.Unlock()
				w.done(l, d, driver.Accepted)
				if d.Kind == driver.Call {
					n.SendAsync(ctx, []*driver.Message{reply(d.ReplyTo, d.UniqueID)}, func(int, error) {})
				}
			}
		}
	})
	return func() { cancel(); wg.Wait() }
}

// hear takes replies in until the listener ends.
func (b *ledger) hear(w *world, l *Listener) (wait func()) {
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	wg.Go(func() {
		for {
			ds, err := l.Poll(ctx, 64)
			if err != nil {
				return
			}
			for _, d := range ds {
				w.done(l, d, driver.Accepted)
				b.mu.Lock()
				c := b.waiting[d.CallID]
				delete(b.waiting, d.CallID) // a second reply is dropped by the core
				b.mu.Unlock()
				if c != nil {
					c <- nil
				}
			}
		}
	})
	return func() { cancel(); wg.Wait() }
}

var errNoReply = errors.New("no reply in time")

// call sends a call and waits for the reply.
func (b *ledger) call(n *Node, id string, limit time.Duration) error {
	return b.callTo(n, "", id, limit)
}

func (b *ledger) callTo(n *Node, server, id string, limit time.Duration) error {
	c := make(chan error, 1)
	b.mu.Lock()
	b.waiting[id] = c
	b.mu.Unlock()
	m := cast("t", id)
	m.Kind, m.ReplyTo, m.CallID, m.TimeLeft, m.Target.Server = driver.Call, "r-"+n.id, id, limit, server
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := n.Send(ctx, []*driver.Message{m}); err != nil {
		return err
	}
	select {
	case err := <-c:
		return err
	case <-ctx.Done():
		return errNoReply
	}
}

func (b *ledger) runs(id string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ran[id]
}

// pair is a caller and a server whose every connection goes through a proxy.
type pair struct {
	*world
	book           *ledger
	caller, server *Node
	proxies        [2]*proxy
}

func newPair(t *testing.T) *pair {
	w := newWorld(t)
	p := &pair{world: w, book: newLedger()}
	p.server, p.proxies[0] = w.behind()
	p.caller, p.proxies[1] = w.behind()
	t.Cleanup(p.book.serve(w, p.server, w.listen(p.server, server("t", "s"))))
	t.Cleanup(p.book.hear(w, w.listen(p.caller, replies("r-"+p.caller.id))))
	w.knows(p.caller, "t", 1)
	w.linked(p.caller, p.server)
	return p
}

func (p *pair) rule(judge func(*passing)) {
	for _, proxy := range p.proxies {
		proxy.rule(judge)
	}
}

// TestCutOnce: the connection breaks at each place of a call, once. It is run once, and the caller
// has its reply.
func TestCutOnce(t *testing.T) {
	is := func(types ...wire.Type) func(*passing) bool {
		return func(p *passing) bool {
			for _, typ := range types {
				if p.packet != nil && p.packet.Type == typ {
					return true
				}
			}
			return false
		}
	}
	half := func(p *passing) { p.out, p.cut = [][]byte{p.raw[:len(p.raw)/2]}, true }
	for _, tt := range []struct {
		name string
		at   func(*passing) bool
		what func(*passing)
	}{
		{"before the call", is(wire.Call), func(p *passing) { p.drop(); p.cut = true }},
		{"in the call", is(wire.Call), half},
		{"after the call", is(wire.Call), func(p *passing) { p.cut = true }},
		{"before its settlement", is(wire.Settle), func(p *passing) { p.drop(); p.cut = true }},
		{"after its settlement", is(wire.Settle), func(p *passing) { p.cut = true }},
		{"before the reply", is(wire.Reply), func(p *passing) { p.drop(); p.cut = true }},
		{"in the reply", is(wire.Reply), half},
		{"after the reply", is(wire.Reply), func(p *passing) { p.cut = true }},
		{"the call twice", is(wire.Call), func(p *passing) { p.repeat() }},
		{"the reply twice", is(wire.Reply), func(p *passing) { p.repeat() }},
		{"the settlement twice", is(wire.Settle), func(p *passing) { p.repeat() }},
		{"garbage", is(wire.Call), func(p *passing) { p.out = [][]byte{garbled(p.raw)} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t)
			struck := false
			p.rule(func(pass *passing) {
				if !struck && tt.at(pass) {
					struck = true
					tt.what(pass)
				}
			})
			err := p.book.call(p.caller, "m", testWait)
			if tt.name == "garbage" {
				// It was refused, or the connection with it: never run twice, and never silent.
				if err != nil && p.book.runs("m") != 0 {
					t.Errorf("%v, and it was run", err)
				}
			} else if err != nil {
				t.Error(err)
			}
			if runs := p.book.runs("m"); err == nil && runs != 1 {
				t.Errorf("it was run %d times", runs)
			}
			if !struck {
				t.Error("nothing was done to it")
			}
			p.rule(nil)
			if err := p.book.call(p.caller, "next", testWait); err != nil {
				t.Errorf("the next call: %v", err)
			}
			p.idle(p.caller)
			p.idle(p.server)
		})
	}
}

// garbled flips bits of a message so that its frames stay what they are.
func garbled(raw []byte) []byte {
	out := append([]byte(nil), raw...)
	for i := 12; i < len(out) && i < 24; i++ { // in the header
		out[i] ^= 0xa5
	}
	return out
}

// TestAbuse: everything at once, at random. Nothing is lost without an error, run twice, or hangs.
func TestAbuse(t *testing.T) {
	const calls, workers, limit = 1000, 16, 20 * time.Second
	p := newPair(t)
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 3))
	t.Logf("seed %d", seed)
	done := make(map[string]int)
	var judging sync.Mutex // of both proxies
	p.rule(func(pass *passing) {
		judging.Lock()
		defer judging.Unlock()
		if pass.packet == nil || pass.packet.Type > wire.Settle {
			return
		}
		switch rnd.IntN(200) {
		case 0:
			pass.cut = true
			done["cut after"]++
		case 1:
			pass.drop()
			pass.cut = true
			done["cut before"]++
		case 2:
			pass.out = append(pass.out[:0:0], pass.raw[:len(pass.raw)*2/3])
			pass.cut = true
			done["cut within"]++
		case 3, 4, 5:
			pass.repeat()
			done["twice"]++
		}
	})
	var wg sync.WaitGroup
	var mu sync.Mutex
	failed := make(map[string]error)
	from := time.Now()
	for worker := range workers {
		wg.Go(func() {
			for i := worker; i < calls; i += workers {
				if err := p.book.call(p.caller, strconv.Itoa(i), limit); err != nil {
					mu.Lock()
					failed[strconv.Itoa(i)] = err
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	p.rule(nil)
	p.idle(p.caller)
	p.idle(p.server)
	p.book.mu.Lock()
	defer p.book.mu.Unlock()
	twice := 0
	for id, runs := range p.book.ran {
		if runs > 1 {
			twice++
			t.Errorf("call %s was run %d times", id, runs)
		}
	}
	for id, err := range failed {
		t.Errorf("call %s: %v (run %d times)", id, err, p.book.ran[id])
	}
	if len(p.book.ran) != calls {
		t.Errorf("%d of %d calls were run", len(p.book.ran), calls)
	}
	t.Logf("%d calls in %v: %v, %d failed, %d run twice", calls, time.Since(from).Round(time.Millisecond), done, len(failed), twice)
}

// TestReorder: numbers that arrive in another order are each taken once.
func TestReorder(t *testing.T) {
	p := newPair(t)
	held := make(map[bool][]byte)
	var mu sync.Mutex
	p.rule(func(pass *passing) {
		mu.Lock()
		defer mu.Unlock()
		if pass.packet == nil || pass.packet.Type > wire.Heartbeat {
			if h := held[pass.dialler]; h != nil { // nothing is held back for long
				pass.out = append([][]byte{h}, pass.out...)
				delete(held, pass.dialler)
			}
			return
		}
		if h := held[pass.dialler]; h != nil {
			pass.out = append(pass.out, h)
			delete(held, pass.dialler)
			return
		}
		held[pass.dialler] = pass.raw
		pass.drop()
	})
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			if err := p.book.call(p.caller, strconv.Itoa(i), testWait); err != nil {
				t.Errorf("call %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	p.rule(nil)
	for i := range 100 {
		if runs := p.book.runs(strconv.Itoa(i)); runs != 1 {
			t.Errorf("call %d was run %d times", i, runs)
		}
	}
	p.idle(p.caller)
}

// TestResendFromAccepted: the side that was dialled says hello before it sends again what was lost.
func TestResendFromAccepted(t *testing.T) {
	p := newPair(t)
	for _, proxy := range p.proxies {
		proxy.rule(func(pass *passing) {
			if pass.packet != nil && pass.packet.Type == wire.Call {
				pass.drop()
			}
		})
	}
	fate := make(chan error, 2)
	go func() { fate <- p.book.call(p.caller, "a", testWait) }()
	p.until("it is under way", func() bool {
		p.caller.mu.Lock()
		defer p.caller.mu.Unlock()
		return p.caller.peers[p.server.id].unanswered == 1
	})
	p.rule(nil)
	for _, proxy := range p.proxies {
		proxy.cutAll()
	}
	if err := p.fate(fate); err != nil {
		t.Error(err)
	}
	if runs := p.book.runs("a"); runs != 1 {
		t.Errorf("it was run %d times", runs)
	}
	if n := p.log.has("the first packet is not a hello"); n != 0 {
		t.Errorf("%d connections began without a hello", n)
	}
}

// TestTwoLinks: when one of two links of a pair breaks, nothing that went over it is forgotten.
func TestTwoLinks(t *testing.T) {
	w := newWorld(t)
	n := w.open()
	id := strangerID(1)
	first := w.dial(n, id).join("a", serves("t"))
	second := w.dial(n, id)
	second.version = 1
	second.join("a", serves("t"))
	fate := w.begin(n, cast("t", "m"))
	seq := first.next(wire.Cast).Seq // which is lost with the link
	first.end()
	select {
	case <-second.conn.Done(): // both begin anew
	case <-time.After(testWait):
		t.Fatal("the other link stays, and nothing is sent over it")
	}
	third := w.dial(n, id)
	third.version = 2
	third.hello("a", serves("t"))
	if p := third.next(wire.Cast); p.Seq != seq || p.Attempt == 0 {
		t.Errorf("got number %d, attempt %d, want number %d again", p.Seq, p.Attempt, seq)
	}
	third.settleDone(seq)
	if err := w.fate(fate); err != nil {
		t.Error(err)
	}
}

// TestRefusedOften: refusals do not count as broken connections.
func TestRefusedOften(t *testing.T) {
	w := newWorld(t)
	n := w.open()
	id := strangerID(1)
	s := w.dial(n, id).join("a", serves("t"))
	fate := w.begin(n, cast("t", "m"))
	for range maxAttempts + 2 {
		s.nack(s.next(wire.Cast).Seq, wire.NackBusy, 0)
	}
	s.next(wire.Cast)
	s.end()
	w.until("the link is gone", func() bool { return n.links(id) == 0 })
	again := w.dial(n, id)
	again.version = 1
	again.hello("a", serves("t"))
	again.settleDone(again.next(wire.Cast).Seq)
	if err := w.fate(fate); err != nil {
		t.Error(err)
	}
}

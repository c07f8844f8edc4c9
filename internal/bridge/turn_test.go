// SPDX-License-Identifier: Apache-2.0

package bridge_test

import (
	"context"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/bridge"
	"github.com/parleymq/parley/internal/memory"
	"github.com/parleymq/parley/plugin/driver"
)

// host is one of several that use a server in turn.
type host struct {
	peer  *bridge.Peer
	leave func()
}

// enter says Hello and holds a session until leave.
func enter(t *testing.T, p *pair, epoch uint64) *host {
	t.Helper()
	peer, err := bridge.Hello(within(t), p.cc, bridge.HelloOptions{HostVersion: "test", Epoch: epoch})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = peer.Session(ctx, bridge.SessionOptions{Interval: 10 * time.Millisecond, Silence: time.Minute}) // it is cancelled
	}()
	leave := func() {
		cancel()
		<-ended
	}
	t.Cleanup(leave)
	return &host{peer: peer, leave: leave}
}

func openOn(t *testing.T, h *host) *bridge.Conn {
	t.Helper()
	c, err := h.peer.Open(within(t), driver.Config{VirtualHost: "turns", HasVirtualHost: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Abandon)
	return c
}

// With Successive, what one host leaves open is closed before the next one comes.
func TestHostsInTurn(t *testing.T) {
	cfg := quietConfig()
	cfg.Successive = true
	started := make(chan struct{}, 10)
	cfg.SessionStarted = func() { started <- struct{}{} }
	p := newPairOf(t, memory.New(), cfg)

	first := enter(t, p, 1)
	left := openOn(t, first) // and not closed
	second := bridge.HelloOptions{HostVersion: "test", Epoch: 2}
	<-started
	if _, err := bridge.Hello(within(t), p.cc, second); driver.ReasonOf(err) != driver.ReasonDriverGone {
		t.Errorf("a second host came in the first one's turn: %v", err)
	}
	if err := left.Ping(within(t)); err != nil {
		t.Errorf("the first host was disturbed: %v", err)
	}

	first.leave()
	next := enter(t, p, 2) // waits for the end of the first turn
	if err := left.Ping(within(t)); driver.ReasonOf(err) != driver.ReasonProtocol {
		t.Errorf("the first host speaks on: %v", err)
	}
	conn := openOn(t, next) // by the number that the first one's had
	if err := conn.Ping(within(t)); err != nil {
		t.Error(err)
	}
	next.leave()

	// A host that says Hello and no more does not keep the others out.
	for epoch := uint64(3); epoch < 6; epoch++ {
		peer, err := bridge.Hello(within(t), p.cc, bridge.HelloOptions{HostVersion: "test", Epoch: epoch})
		if err != nil {
			t.Fatal(err)
		}
		openOn(t, &host{peer: peer})
	}
}

// Without it the first host is the only one, also when its session has ended.
func TestOneHostAlone(t *testing.T) {
	p := newPairOf(t, memory.New(), quietConfig())
	enter(t, p, 1).leave()
	if _, err := bridge.Hello(within(t), p.cc, bridge.HelloOptions{HostVersion: "test", Epoch: 2}); driver.ReasonOf(err) != driver.ReasonProtocol {
		t.Errorf("got %v", err)
	}
}

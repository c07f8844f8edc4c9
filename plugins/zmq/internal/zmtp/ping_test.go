// SPDX-License-Identifier: Apache-2.0

package zmtp

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"
)

// Row 9 of the list of zmq4's faults: a PING is answered with its context, and the application
// sees nothing of it.
func TestPingIsAnsweredWithItsContext(t *testing.T) {
	l := listen(t, "tcp://127.0.0.1:0", Options{PingInterval: -1})
	c, router := rawPeer(t, l)
	write(t, c, shortFrame(flagCommand, "\x04PING\x00\x32"), shortFrame(flagCommand, "\x04PING\x00\x320123456789abcdef"), shortFrame(0, "message"))
	got, err := router.Recv()
	if err != nil || !sameFrames(got, frames("message")) {
		t.Fatalf("%q %v", got, err)
	}
	for _, want := range []string{"\x04PONG", "\x04PONG0123456789abcdef"} {
		if flags, body := readFrame(t, c); flags != flagCommand || body != want {
			t.Errorf("%#x %q", flags, body)
		}
	}
}

// A peer of 3.1 gets PINGs and is given up when no byte comes for three of them; one of 3.0 does
// not know them, and is left alone.
func TestSilentPeerIsGivenUp(t *testing.T) {
	const interval = 50 * time.Millisecond
	l := listen(t, "tcp://127.0.0.1:0", Options{PingInterval: interval})
	c, router := rawPeer(t, l)
	old := raw(t, l)
	write(t, old, goodGreeting(func(b []byte) { b[11] = 0 }), goodReady("old"))
	oldEnded := background(t, accept(t, l))
	start := time.Now()
	ended := background(t, router)
	for range 3 {
		if flags, body := readFrame(t, c); flags != flagCommand || body != "\x04PING\x00\x01" {
			t.Errorf("%#x %q", flags, body)
		}
	}
	err := ending(t, ended)
	if took := time.Since(start); !errors.Is(err, ErrSilent) || took < 3*interval || took > 20*interval {
		t.Errorf("%v after %v", err, took)
	}
	select {
	case err := <-oldEnded:
		t.Errorf("the old peer ended: %v", err)
	case <-time.After(6 * interval):
	}
}

// Two idle Conns keep each other alive, and small.
func TestIdleConnsStay(t *testing.T) {
	const interval = 150 * time.Millisecond
	dealer, router := pair(t, Options{PingInterval: interval})
	var work sync.WaitGroup
	work.Go(func() { echo(router) })
	roundTrip(t, dealer, [][]byte{make([]byte, 30*kib)}) // leaves buffers behind
	ended := background(t, dealer)
	select {
	case err := <-ended:
		t.Fatal(err)
	case <-time.After(8 * interval):
	}
	for _, c := range []*Conn{dealer, router} {
		c.out.mu.Lock()
		if n := cap(c.out.pending) + cap(c.out.spare); n > 4*kib {
			t.Errorf("an idle Conn keeps %d bytes to write", n)
		}
		c.out.mu.Unlock()
		if c.Err() != nil {
			t.Error(c.Err())
		}
	}
	_ = dealer.Close()
	_ = router.Close()
	work.Wait()
}

// A peer that sends PINGs and reads no PONGs cannot make us keep them.
func TestPongsAreBounded(t *testing.T) {
	l := listen(t, "tcp://127.0.0.1:0", Options{PingInterval: -1})
	c, router := rawPeer(t, l)
	ended := background(t, router)
	flood := []byte(strings.Repeat(string(shortFrame(flagCommand, "\x04PING\x00\x000123456789abcdef")), 20_000))
	for range 20 {
		write(t, c, flood)
	}
	if n := router.Buffered(); n > pingBacklog+1*kib {
		t.Errorf("%d bytes are queued", n)
	}
	select {
	case err := <-ended:
		t.Error(err)
	default:
	}
}

// The read buffer grows with the load and shrinks without it.
func TestInboxFollowsTheLoad(t *testing.T) {
	var in inbox
	read := func(n int) func([]byte) (int, error) {
		return func(p []byte) (int, error) { return min(n, len(p)), nil }
	}
	for range 10 {
		_ = in.fill(read(maxInbox))
		in.skip(in.buffered())
	}
	if len(in.buf) != maxInbox {
		t.Errorf("%d bytes under load", len(in.buf))
	}
	for range 6 * shrinkAfter {
		_ = in.fill(read(8))
		in.skip(in.buffered())
	}
	if len(in.buf) != minInbox {
		t.Errorf("%d bytes when idle", len(in.buf))
	}
}

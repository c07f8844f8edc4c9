// SPDX-License-Identifier: Apache-2.0

package zmtp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

func TestMessagesOfAllSizesComeBack(t *testing.T) {
	dealer, router := pair(t, Options{})
	var work sync.WaitGroup
	work.Go(func() { echo(router) })
	defer work.Wait()
	defer func() { _ = router.Close() }()
	for _, size := range []int{0, 1, 254, 255, 256, 257, 2 * kib, 64*kib - 1, 64 * kib, 64*kib + 1, mib, 20 * mib} {
		big := bytes.Repeat([]byte{'x'}, size)
		roundTrip(t, dealer, [][]byte{big})
		roundTrip(t, dealer, [][]byte{{}, big, []byte("middle"), big, {}})
	}
	roundTrip(t, dealer, make([][]byte, 64))
	eventually(t, "nothing is queued", func() bool { return dealer.Buffered() == 0 })
}

func TestConnKnowsItsPeer(t *testing.T) {
	o := Options{Identity: "node-1"}
	dealer, router := pair(t, o)
	if p := router.Peer(); p.SocketType != "DEALER" || p.Identity != "node-1" || !strings.HasPrefix(p.Address, "127.0.0.1:") || p.Names != nil {
		t.Errorf("router sees %+v", p)
	}
	if p := dealer.Peer(); p.SocketType != "ROUTER" || p.Identity != "" || p.Address == "" {
		t.Errorf("dealer sees %+v", p)
	}
}

func TestSendRefusesWhatNoPeerMayReceive(t *testing.T) {
	dealer, _ := pair(t, Options{MaxMessage: 1000, MaxFrames: 3})
	for name, f := range map[string][][]byte{
		"no frame": {}, "four frames": frames("", "", "", ""), "1001 bytes": {make([]byte, 1000), {1}},
	} {
		if err := dealer.Send(f); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if dealer.Buffered() != 0 || dealer.Err() != nil {
		t.Error("a refused message left something behind")
	}
}

// A peer that does not read ends its own connection and nobody else's.
func TestStalledReaderEndsAlone(t *testing.T) {
	o := Options{WriteTimeout: 2 * time.Second, PingInterval: -1, MaxBuffered: 4 * mib}
	l := listen(t, "tcp://127.0.0.1:0", o)
	good := dial(t, l.Endpoint(), o)
	goodRouter := accept(t, l)
	var work sync.WaitGroup
	work.Go(func() { echo(goodRouter) })
	defer work.Wait()
	defer func() { _ = goodRouter.Close() }()
	dial(t, l.Endpoint(), o) // never reads
	stalled := accept(t, l)
	ended := background(t, stalled)

	message, start := [][]byte{make([]byte, 256*kib)}, time.Now()
	var err error
	sent := 0
	for ; err == nil; sent++ {
		err = stalled.Send(message)
	}
	if !errors.Is(err, ErrBacklog) || sent < 15 {
		t.Fatalf("after %d messages: %v", sent, err)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("Send waited for the network: %v", took)
	}
	slowest := time.Duration(0)
	for stalled.Err() == nil {
		start := time.Now()
		roundTrip(t, good, frames("a", "b"))
		slowest = max(slowest, time.Since(start))
	}
	if err := ending(t, ended); !errors.Is(err, ErrStalled) {
		t.Error(err)
	}
	if err := stalled.Send(message); !errors.Is(err, ErrStalled) {
		t.Error(err)
	}
	t.Logf("the others' slowest echo meanwhile: %v", slowest)
}

func TestCloseAfterFlushLosesNothing(t *testing.T) {
	dealer, router := pair(t, Options{})
	ended := background(t, dealer)
	const count, size = 200, 50_000
	for i := range count {
		if err := dealer.Send([][]byte{fmt.Append(nil, i), make([]byte, size)}); err != nil {
			t.Fatal(err)
		}
		// Unread bytes at the closing side would make the kernel reset the connection.
		if err := router.Send(frames("noise")); err != nil {
			t.Fatal(err)
		}
	}
	var work sync.WaitGroup
	work.Go(func() {
		if err := dealer.CloseAfterFlush(soon(t)); err != nil {
			t.Error(err)
		}
	})
	for i := range count {
		f, err := router.Recv()
		if err != nil {
			t.Fatalf("after %d: %v", i, err)
		}
		if string(f[0]) != strconv.Itoa(i) {
			t.Fatalf("%q came instead of %d", f[0], i)
		}
	}
	if _, err := router.Recv(); !errors.Is(err, ErrPeerClosed) {
		t.Error(err)
	}
	work.Wait()
	if err := dealer.Send(frames("late")); err == nil {
		t.Error("a closed Conn took a message")
	}
	_ = ending(t, ended)
}

func TestCloseAfterFlushIsBounded(t *testing.T) {
	dealer, _ := pair(t, Options{PingInterval: -1})
	for range 40 {
		if err := dealer.Send([][]byte{make([]byte, mib)}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	if err := dealer.CloseAfterFlush(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("it took %v", took)
	}
}

// What is queued still reaches a peer that has closed its half and waits.
func TestAnswersReachAPeerThatClosedItsHalf(t *testing.T) {
	l := listen(t, "tcp://127.0.0.1:0", Options{})
	c, router := rawPeer(t, l)
	for range 3 {
		if err := router.Send(frames("answer")); err != nil {
			t.Fatal(err)
		}
	}
	_ = c.(*net.TCPConn).CloseWrite()
	if _, err := router.Recv(); !errors.Is(err, ErrPeerClosed) {
		t.Error(err)
	}
	for range 3 {
		if _, body := readFrame(t, c); body != "answer" {
			t.Errorf("%q", body)
		}
	}
}

func TestEndsHaveReasons(t *testing.T) {
	for _, tc := range []struct {
		name string
		act  func(c net.Conn, router *Conn)
		want error
		text string
	}{
		{"the peer closes", func(c net.Conn, _ *Conn) { _ = c.Close() }, ErrPeerClosed, "connection with 127.0.0.1:"},
		{"the peer closes in a frame", func(c net.Conn, _ *Conn) {
			write(t, c, []byte{0, 5, 'a'})
			_ = c.Close()
		}, ErrPeerClosed, "in the middle of a message"},
		{"the peer closes between frames", func(c net.Conn, _ *Conn) {
			write(t, c, []byte{1, 1, 'a'})
			_ = c.Close()
		}, ErrPeerClosed, "in the middle of a message"},
		{"the peer closes in a head", func(c net.Conn, _ *Conn) {
			write(t, c, []byte{2, 0, 0})
			_ = c.Close()
		}, ErrPeerClosed, "in the middle of a message"},
		{"we close", func(_ net.Conn, router *Conn) { _ = router.Close() }, ErrClosed, "closed by this side"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, router := rawPeer(t, listen(t, "tcp://127.0.0.1:0", Options{}))
			if router.Err() != nil {
				t.Error("it has an error before its end")
			}
			tc.act(c, router)
			_, err := router.Recv()
			if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.text) {
				t.Error(err)
			}
			select {
			case <-router.Done():
			default:
				t.Error("Done is open")
			}
			if router.Err() != err || router.Send(frames("x")) == nil {
				t.Error("it goes on")
			}
		})
	}
}

func TestDialErrorsAreDriverErrors(t *testing.T) {
	silent := quiet(t, func(net.Conn) {})
	for _, tc := range []struct {
		name, endpoint string
		reason         driver.Reason
		text           string
	}{
		{"nobody", "tcp://127.0.0.1:1", driver.ReasonNotConnected, "nothing listens there"},
		{"no file", "ipc:///nonexistent/socket", driver.ReasonNotConnected, "nothing listens there"},
		{"no scheme", "127.0.0.1:1", driver.ReasonConfig, "tcp://"},
		{"all addresses", "tcp://*:9501", driver.ReasonConfig, "no single peer"},
		{"range", "tcp://h:1-5", driver.ReasonConfig, "no single peer"},
		{"relative path", "ipc://socket", driver.ReasonConfig, "not absolute"},
		{"silent", silent, driver.ReasonNotConnected, "did not finish the handshake"},
		{"http", quiet(t, func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n") }), driver.ReasonNotConnected, "something else"},
		{"hangs up", quiet(t, func(c net.Conn) { _ = c.Close() }), driver.ReasonNotConnected, "its log may say more"},
		{"curve", quiet(t, func(c net.Conn) {
			_, _ = c.Write(goodGreeting(func(b []byte) { copy(b[12:], "CURVE") }))
		}), driver.ReasonAuthRefused, "CURVE"},
		{"publisher", quiet(t, func(c net.Conn) {
			_, _ = c.Write(append(goodGreeting(nil), readyWith(property("Socket-Type", "PUB"))...))
		}), driver.ReasonNotConnected, "ROUTER is expected"},
		{"error", quiet(t, func(c net.Conn) {
			_, _ = c.Write(append(goodGreeting(nil), shortFrame(flagCommand, "\x05ERROR\x04none")...))
		}), driver.ReasonNotConnected, `the error \"none\"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Dial(soon(t), tc.endpoint, Options{Handshake: 150 * time.Millisecond})
			e, ok := errors.AsType[*driver.Error](err)
			if !ok || e.Reason != tc.reason || e.Hint == "" || !strings.Contains(fmt.Sprintf("%q", err.Error()), tc.text) {
				t.Errorf("%v", err)
			}
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := Dial(ctx, silent, Options{}); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
}

// quiet listens and does one thing with each client.
func quiet(t *testing.T, do func(net.Conn)) (endpoint string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				defer func() { _ = c.Close() }()
				_ = c.SetDeadline(time.Now().Add(2 * time.Second))
				do(c)
				_, _ = io.Copy(io.Discard, c)
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		work.Wait()
	})
	return "tcp://" + ln.Addr().String()
}

// Many goroutines send at once, and each message arrives whole.
func TestSendersDoNotMix(t *testing.T) {
	dealer, router := pair(t, Options{})
	const senders, each = 8, 500
	var work sync.WaitGroup
	for s := range senders {
		work.Go(func() {
			for range each {
				text := []byte(strings.Repeat(strconv.Itoa(s), 1+37*s))
				if err := dealer.Send([][]byte{text, {}, text}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range senders * each {
		f, err := router.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if len(f) != 3 || !bytes.Equal(f[0], f[2]) || len(f[1]) != 0 {
			t.Fatalf("%q", f)
		}
	}
	work.Wait()
}

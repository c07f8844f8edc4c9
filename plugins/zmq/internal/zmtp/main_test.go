// SPDX-License-Identifier: Apache-2.0

package zmtp

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of a test for something that must happen.
const patience = 20 * time.Second

func soon(tb testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	tb.Cleanup(cancel)
	return ctx
}

// listen starts a Listener that ends with the test.
func listen(tb testing.TB, endpoint string, o Options) *Listener {
	tb.Helper()
	l, err := Listen(soon(tb), endpoint, o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = l.Close() })
	return l
}

func dial(tb testing.TB, endpoint string, o Options) *Conn {
	tb.Helper()
	c, err := Dial(soon(tb), endpoint, o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

func accept(tb testing.TB, l *Listener) *Conn {
	tb.Helper()
	c, err := l.Accept(soon(tb))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

// pair is a dialled Conn and the one that was accepted for it.
func pair(tb testing.TB, o Options) (dealer, router *Conn) {
	tb.Helper()
	l := listen(tb, "tcp://127.0.0.1:0", o)
	dealer = dial(tb, l.Endpoint(), o)
	return dealer, accept(tb, l)
}

// serve echoes on every Conn that l accepts, until the test ends.
func serve(tb testing.TB, l *Listener) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() {
		for {
			c, err := l.Accept(ctx)
			if err != nil {
				return
			}
			work.Go(func() {
				select {
				case <-ctx.Done():
				case <-c.Done():
				}
				_ = c.Close()
			})
			work.Go(func() { echo(c) })
		}
	})
	tb.Cleanup(func() {
		cancel()
		work.Wait()
	})
}

func echo(c *Conn) {
	for {
		frames, err := c.Recv()
		if err != nil {
			return
		}
		if c.Send(frames) != nil {
			return
		}
	}
}

// background runs Recv, for its PONGs and its end, and returns what that is.
func background(tb testing.TB, c *Conn) <-chan error {
	ended := make(chan error, 1)
	var work sync.WaitGroup
	work.Go(func() {
		for {
			if _, err := c.Recv(); err != nil {
				ended <- err
				return
			}
		}
	})
	tb.Cleanup(func() {
		_ = c.Close()
		work.Wait()
	})
	return ended
}

func ending(tb testing.TB, ended <-chan error) error {
	tb.Helper()
	select {
	case err := <-ended:
		return err
	case <-time.After(patience):
		tb.Fatal("it did not end")
		return nil
	}
}

func frames(parts ...string) [][]byte {
	var all [][]byte
	for _, p := range parts {
		all = append(all, []byte(p))
	}
	return all
}

func sameFrames(a, b [][]byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !bytes.Equal(a[i], b[i]) {
			return false
		}
	}
	return true
}

// roundTrip sends frames and wants them back.
func roundTrip(tb testing.TB, c *Conn, f [][]byte) {
	tb.Helper()
	if err := c.Send(f); err != nil {
		tb.Fatal(err)
	}
	got, err := c.Recv()
	if err != nil {
		tb.Fatal(err)
	}
	if !sameFrames(got, f) {
		tb.Fatalf("%d frames came back, not the %d that were sent", len(got), len(f))
	}
}

// eventually waits for a condition.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for end := time.Now().Add(patience); !ok(); {
		if time.Now().After(end) {
			tb.Fatalf("it did not happen: %s", what)
		}
		<-time.After(2 * time.Millisecond)
	}
}

// goodGreeting is what libzmq sends, with the length in the padding.
func goodGreeting(edit func([]byte)) []byte {
	b := make([]byte, greetingSize)
	b[0], b[8], b[9], b[10], b[11] = 0xff, 3, 0x7f, 3, 1
	copy(b[12:], "NULL")
	if edit != nil {
		edit(b)
	}
	return b
}

func shortFrame(flags byte, body string) []byte {
	return append([]byte{flags, byte(len(body))}, body...)
}

func longFrame(flags byte, size uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{flags | flagLong}, size)
}

func property(name, value string) string { return string(appendProperty(nil, name, value)) }

func readyWith(properties ...string) []byte {
	return shortFrame(flagCommand, "\x05READY"+strings.Join(properties, ""))
}

func goodReady(identity string) []byte {
	return readyWith(property("Socket-Type", "DEALER"), property("Identity", identity))
}

// raw is a TCP connection to a Listener, without ZMTP.
func raw(tb testing.TB, l *Listener) net.Conn {
	tb.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(l.Endpoint(), "tcp://"))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

// rawPeer is a finished handshake without the package under test on the client's side.
func rawPeer(tb testing.TB, l *Listener) (net.Conn, *Conn) {
	tb.Helper()
	c := raw(tb, l)
	write(tb, c, goodGreeting(nil), goodReady("raw"))
	router := accept(tb, l)
	// Our greeting and READY.
	if _, err := io.ReadFull(c, make([]byte, greetingSize)); err != nil {
		tb.Fatal(err)
	}
	readFrame(tb, c)
	return c, router
}

// write does not mind a peer that has closed already.
func write(tb testing.TB, c net.Conn, parts ...[]byte) {
	tb.Helper()
	_, _ = c.Write(bytes.Join(parts, nil))
}

// readFrame returns the flags and body of the next short frame.
func readFrame(tb testing.TB, c net.Conn) (byte, string) {
	tb.Helper()
	head := make([]byte, 2)
	if _, err := io.ReadFull(c, head); err != nil {
		tb.Fatal(err)
	}
	body := make([]byte, head[1])
	if _, err := io.ReadFull(c, body); err != nil {
		tb.Fatal(err)
	}
	return head[0], string(body)
}

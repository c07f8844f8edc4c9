// SPDX-License-Identifier: Apache-2.0

package zmtp

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/go-zeromq/zmq4"
)

var fuzzOptions = Options{MaxMessage: 100 * kib, MaxFrames: 5, PingInterval: -1, Handshake: 5 * time.Second}.withDefaults()

// FuzzGreeting sends bytes to a fresh connection of the listening side. Whatever they are, it ends
// or becomes a Conn, in time.
func FuzzGreeting(f *testing.F) {
	for _, seed := range [][]byte{
		nil, goodGreeting(nil), append(goodGreeting(nil), goodReady("me")...),
		append(goodGreeting(nil), readyWith(property("Socket-Type", "BOGUS"))...),
		append(goodGreeting(nil), shortFrame(flagCommand, "\x05ERROR\x02no")...),
		append(goodGreeting(nil), longReady(property("Socket-Type", "REQ"))...),
		append(goodGreeting(nil), longFrame(flagCommand, 1<<63)...),
		append(goodGreeting(nil), readyWith("\xff\xff")...),
		[]byte("GET / HTTP/1.1\r\n\r\n"), {0x16, 3, 1},
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		c := talk(t, sent)
		if c != nil {
			receiveAll(t, c)
		}
	})
}

// FuzzStream sends bytes after a good handshake. No message is above the limits, and what zmq4
// makes of the good ones goes the same way back.
func FuzzStream(f *testing.F) {
	for _, seed := range [][]byte{
		nil, shortFrame(0, "x"), append(shortFrame(1, "a"), shortFrame(0, "bb")...),
		shortFrame(flagCommand, "\x04PING\x00\x32context"), shortFrame(flagCommand, "\x04PONG"), shortFrame(flagCommand, "\x05READY"),
		append(longFrame(0, 3), "abc"...), longFrame(0, 1<<62), longFrame(1, 101*kib), {1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 0, 0}, {5, 1, 'x'}, {0xff, 0},
		append(shortFrame(1, "a"), shortFrame(flagCommand, "\x04PING\x00\x00")...),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		c := talk(t, append(append(goodGreeting(nil), goodReady("me")...), sent...))
		if c == nil {
			t.Fatal("a good handshake was refused")
		}
		receiveAll(t, c)
	})
}

// talk opens a Conn over a pipe whose other end sends these bytes and then nothing.
func talk(t *testing.T, sent []byte) *Conn {
	ours, theirs := net.Pipe()
	var work sync.WaitGroup
	work.Go(func() { _, _ = io.Copy(io.Discard, theirs) })
	feed := &fed{Conn: ours, rest: bytes.NewReader(sent)}
	t.Cleanup(func() {
		_ = ours.Close()
		_ = theirs.Close()
		work.Wait()
	})
	c, err := open(context.Background(), feed, side{role: zmq4.Router, server: true, endpoint: "fuzz", release: func() {}}, fuzzOptions)
	if err == nil {
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	if isTimeout(err) {
		t.Fatal("it waited for the deadline")
	}
	return nil
}

// fed reads what was sent and then the end, so that no input makes anybody wait.
type fed struct {
	net.Conn
	rest *bytes.Reader
}

func (f *fed) Read(p []byte) (int, error) { return f.rest.Read(p) }

func receiveAll(t *testing.T, c *Conn) {
	for {
		got, err := c.Recv()
		if err != nil {
			break
		}
		sum := 0
		for _, f := range got {
			sum += len(f)
		}
		if len(got) == 0 || len(got) > fuzzOptions.MaxFrames || sum > fuzzOptions.MaxMessage {
			t.Fatalf("%d frames with %d bytes", len(got), sum)
		}
	}
	if c.Err() == nil {
		t.Fatal("it ended without a reason")
	}
}

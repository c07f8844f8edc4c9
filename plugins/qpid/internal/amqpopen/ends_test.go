// SPDX-License-Identifier: Apache-2.0

package amqpopen_test

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/parleymq/parley/plugins/qpid/internal/amqpopen"
)

// TestEndsAnswered: who waits goes on when the library has answered the peer's end, and not before.
func TestEndsAnswered(t *testing.T) {
	begin := func(peers, ours byte) []byte {
		return frame(0, peers, described(0x11, list([]byte{0x60, 0, ours}, []byte{0x43}, []byte{0x43}, []byte{0x43})))
	}
	end := func(channel byte) []byte { return frame(0, channel, described(0x17, []byte{0x45})) }
	near, far := net.Pipe()
	c := amqpopen.New(near, amqpopen.Options{})
	go func() { _, _ = io.Copy(io.Discard, far) }()
	receive := func(b []byte) {
		t.Helper()
		written := make(chan error, 1)
		go func() {
			_, err := far.Write(b)
			written <- err
		}()
		if _, err := io.ReadFull(c, make([]byte, len(b))); err != nil {
			t.Fatal(err)
		}
		if err := <-written; err != nil {
			t.Fatal(err)
		}
	}
	send := func(b []byte) {
		t.Helper()
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	answered := func(want bool) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if err := c.EndsAnswered(ctx); (err == nil) != want {
			t.Errorf("%v, want an answer: %t", err, want)
		}
	}
	send(header(0))
	receive(open())
	answered(true)
	receive(begin(7, 0))
	receive(begin(8, 1))
	answered(true)

	receive(end(7)) // the peer's first
	answered(false)
	send(end(1)) // of the other one
	answered(false)
	waiting := make(chan error, 1)
	go func() { waiting <- c.EndsAnswered(t.Context()) }()
	send(end(0))
	if err := <-waiting; err != nil {
		t.Error(err)
	}
	receive(end(8)) // an answer itself
	answered(true)
	receive(end(9)) // of nothing
	answered(true)
	_ = near.Close()
	_ = far.Close()
}

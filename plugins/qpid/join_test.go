// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// joinedPipe is a joinConn and the other end of its socket, which takes nothing until it is read.
func joinedPipe(t *testing.T) (*joinConn, net.Conn) {
	t.Helper()
	near, far := net.Pipe()
	j := newJoinConn(near)
	t.Cleanup(func() {
		_ = far.Close()
		_ = j.Close()
	})
	return j, far
}

func mustWrite(t *testing.T, w io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
}

// TestJoinConnJoins: what is written while the socket is busy goes by one write.
func TestJoinConnJoins(t *testing.T) {
	j, far := joinedPipe(t)
	mustWrite(t, j, "first")
	one := make([]byte, 1)
	if _, err := io.ReadFull(far, one); err != nil { // its write is under way, and does not end
		t.Fatal(err)
	}
	for _, text := range []string{"a", "b", "c"} {
		mustWrite(t, j, text)
	}
	var parts []string
	buf := make([]byte, 100)
	for got := 1; got < len("firstabc"); {
		n, err := far.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, string(buf[:n]))
		got += n
	}
	if got := strings.Join(parts, "|"); got != "irst|abc" {
		t.Errorf("it came as %q, want %q", got, "irst|abc")
	}
}

// TestJoinConnBounds: a writer waits when too much is waiting already, and is told when the socket is
// closed meanwhile.
func TestJoinConnBounds(t *testing.T) {
	j, far := joinedPipe(t)
	chunk := strings.Repeat("x", joinSize/2)
	ended := make(chan error, 1)
	go func() {
		for {
			if _, err := io.WriteString(j, chunk); err != nil {
				ended <- err
				return
			}
		}
	}()
	if _, err := io.ReadFull(far, make([]byte, 3*joinSize)); err != nil {
		t.Fatal(err)
	}
	_ = far.Close()
	select {
	case err := <-ended:
		if !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("a writer is told %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the writer hangs")
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if c := cap(j.buf); c > 4*joinSize {
		t.Errorf("%d bytes are kept", c)
	}
}

// TestJoinConnFails: a write that fails in the background closes the socket, and who reads or writes
// hears why.
func TestJoinConnFails(t *testing.T) {
	j, _ := joinedPipe(t)
	if err := j.SetWriteDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, j, "nobody reads it")
	if _, err := j.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("reading fails with %v, want the write's error", err)
	}
	if _, err := j.Write([]byte("more")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("writing fails with %v, want the first write's error", err)
	}
}

// TestJoinConnClose: what was written before leaves, and a peer that takes nothing is not waited for.
func TestJoinConnClose(t *testing.T) {
	j, far := joinedPipe(t)
	mustWrite(t, j, "bye")
	read := make(chan string, 1)
	go func() {
		all, _ := io.ReadAll(far) // ends with j
		read <- string(all)
	}()
	if err := j.Close(); err != nil {
		t.Error(err)
	}
	if got := <-read; got != "bye" {
		t.Errorf("%q came before the end, want %q", got, "bye")
	}
	if _, err := j.Write([]byte("late")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("writing to a closed one fails with %v", err)
	}
	stuck, _ := joinedPipe(t)
	mustWrite(t, stuck, "nobody reads it")
	_ = stuck.Close() // returns, with the error of whatever came first
}

// SPDX-License-Identifier: Apache-2.0

package peertest

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

func TestTCPProxy(t *testing.T) {
	p := RunTCPProxy(t, echo(t))
	first, second := dialProxy(t, p), dialProxy(t, p)
	for _, c := range []net.Conn{first, second} {
		if err := roundTrip(c); err != nil {
			t.Fatal(err)
		}
	}
	if n := p.Seen(); n != 2 {
		t.Errorf("%d connections were seen, want 2", n)
	}
	p.Refuse(true)
	if err := roundTrip(first); err != nil {
		t.Errorf("a connection ended as new ones were refused: %v", err)
	}
	if n := p.Cut(); n != 2 {
		t.Errorf("%d connections were cut, want 2", n)
	}
	for _, c := range []net.Conn{first, second, dialProxy(t, p)} {
		if err := roundTrip(c); err == nil {
			t.Error("a connection that was cut or refused goes on")
		}
	}
	p.Refuse(false)
	if err := roundTrip(dialProxy(t, p)); err != nil {
		t.Errorf("after the end of the outage: %v", err)
	}
	if n := p.Seen(); n != 3 {
		t.Errorf("%d connections were seen, want 3", n)
	}
}

// echo is a broker that says what it hears, until the test ends.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		all.Wait()
	})
	return l.Addr().String()
}

func dialProxy(t *testing.T, p *TCPProxy) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// roundTrip says something and hears it again.
func roundTrip(c net.Conn) error {
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	if _, err := c.Write([]byte("x")); err != nil {
		return err
	}
	got := make([]byte, 1)
	_, err := io.ReadFull(c, got)
	if err == nil && got[0] != 'x' {
		err = errors.New("it heard something else")
	}
	return err
}

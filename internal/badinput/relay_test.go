// SPDX-License-Identifier: Apache-2.0

package badinput

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
)

// relayFromAfar passes what comes to an address of this machine that is not the loopback's on to addr,
// until the test ends. It returns "" where the machine has no such address.
func relayFromAfar(t *testing.T, addr string) string {
	t.Helper()
	own := ownAddress()
	if own == "" {
		return ""
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", net.JoinHostPort(own, "0"))
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { relay(t.Context(), c, addr) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		serving.Wait() // the test's context has ended
	})
	return l.Addr().String()
}

// relay ends when either side does, and with ctx.
func relay(ctx context.Context, c net.Conn, addr string) {
	defer func() { _ = c.Close() }()
	to, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return
	}
	defer func() { _ = to.Close() }()
	defer context.AfterFunc(ctx, func() {
		_ = c.Close()
		_ = to.Close()
	})()
	back := make(chan struct{})
	go func() {
		defer close(back)
		_, _ = io.Copy(c, to)
		_ = c.Close()
	}()
	_, _ = io.Copy(to, c)
	_ = to.Close()
	<-back
}

// ownAddress is one of this machine that is not the loopback's, "" when there is none.
func ownAddress() string {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return ""
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return n.IP.String()
		}
	}
	return ""
}

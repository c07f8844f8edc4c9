// SPDX-License-Identifier: Apache-2.0

package zmtp

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/go-zeromq/zmq4"
	"github.com/go-zeromq/zmq4/security/null"
)

// echoFrames are five frames with 400 bytes, about what a call is.
func echoFrames() [][]byte {
	return [][]byte{{}, []byte("2.0"), make([]byte, 97), make([]byte, 100), make([]byte, 200)}
}

// BenchmarkEcho compares a Conn with zmq4's sockets and with zmq4's Conn, each over TCP on loopback
// with both ends in this process. One operation is one message there and back.
func BenchmarkEcho(b *testing.B) {
	for _, inFlight := range []int{1, 128} {
		b.Run(fmt.Sprintf("conn/%d", inFlight), func(b *testing.B) {
			dealer, router := pair(b, Options{})
			var work sync.WaitGroup
			work.Go(func() { echo(router) })
			echoes(b, inFlight, dealer.Send, func() error { _, err := dealer.Recv(); return err })
			_ = dealer.Close()
			work.Wait()
		})
		b.Run(fmt.Sprintf("zmq4sockets/%d", inFlight), func(b *testing.B) { benchSockets(b, inFlight) })
		b.Run(fmt.Sprintf("zmq4conn/%d", inFlight), func(b *testing.B) { benchBareConn(b, inFlight) })
	}
}

// echoes keeps inFlight messages on their way until b.N have come back.
func echoes(b *testing.B, inFlight int, send func([][]byte) error, recv func() error) {
	message := echoFrames()
	b.ReportAllocs()
	b.ResetTimer()
	sent := 0
	for ; sent < min(inFlight, b.N); sent++ {
		if err := send(message); err != nil {
			b.Fatal(err)
		}
	}
	for range b.N {
		if err := recv(); err != nil {
			b.Fatal(err)
		}
		if sent < b.N {
			sent++
			if err := send(message); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "echoes/s")
}

// benchSockets is zmq4 as its README shows it.
func benchSockets(b *testing.B, inFlight int) {
	ctx, cancel := context.WithCancel(context.Background())
	router := zmq4.NewRouter(ctx)
	if err := router.Listen("tcp://127.0.0.1:0"); err != nil {
		b.Fatal(err)
	}
	dealer := zmq4.NewDealer(ctx)
	if err := dealer.Dial("tcp://" + router.Addr().String()); err != nil {
		b.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			msg, err := router.Recv()
			if err != nil || router.SendMulti(msg) != nil {
				return
			}
		}
	})
	echoes(b, inFlight, func(f [][]byte) error { return dealer.SendMulti(zmq4.NewMsgFrom(f...)) },
		func() error { _, err := dealer.Recv(); return err })
	_ = dealer.Close()
	_ = router.Close()
	cancel()
	work.Wait()
}

// benchBareConn is zmq4's Conn on a TCP socket with nothing between.
func benchBareConn(b *testing.B, inFlight int) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	var work sync.WaitGroup
	work.Go(func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		router, err := zmq4.Open(c, null.Security(), zmq4.Router, nil, true, nil)
		for err == nil {
			var msg zmq4.Msg
			if msg, err = router.RecvMsg(); err == nil {
				err = router.SendMsg(msg)
			}
		}
	})
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	dealer, err := zmq4.Open(c, null.Security(), zmq4.Dealer, nil, false, nil)
	if err != nil {
		b.Fatal(err)
	}
	echoes(b, inFlight, func(f [][]byte) error { return dealer.SendMsg(zmq4.NewMsgFrom(f...)) },
		func() error { _, err := dealer.RecvMsg(); return err })
	_ = dealer.Close()
	work.Wait()
}

// BenchmarkBig is the throughput of messages of 8 MiB, in one direction.
func BenchmarkBig(b *testing.B) {
	dealer, router := pair(b, Options{})
	message := [][]byte{make([]byte, 8*mib)}
	b.SetBytes(8 * mib)
	b.ReportAllocs()
	for b.Loop() {
		if err := dealer.Send(message); err != nil {
			b.Fatal(err)
		}
		if _, err := router.Recv(); err != nil {
			b.Fatal(err)
		}
	}
}

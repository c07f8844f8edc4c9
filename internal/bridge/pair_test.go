// SPDX-License-Identifier: Apache-2.0

package bridge_test

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/parleymq/parley/internal/bridge"
	"github.com/parleymq/parley/plugin/driver"
	pb "github.com/parleymq/parley/plugin/proto"
)

// testEpoch is the epoch of every pair.
const testEpoch = 7

// pair is both sides of the bridge in one process, over a real unix socket.
type pair struct {
	peer   *bridge.Peer
	server *bridge.Server
	cc     *grpc.ClientConn
	path   string // of the driver's socket
}

// newPair is a pair that has said Hello.
func newPair(t testing.TB, d driver.Driver, limits bridge.Limits) *pair {
	t.Helper()
	cfg := quietConfig()
	cfg.Limits = limits
	p := newPairOf(t, d, cfg)
	var err error
	p.peer, err = bridge.Hello(within(t), p.cc, bridge.HelloOptions{HostVersion: "test", Epoch: testEpoch, Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// newPairOf is a pair that has not said Hello yet.
func newPairOf(t testing.TB, d driver.Driver, cfg bridge.ServerConfig) *pair {
	t.Helper()
	server := bridge.NewServer(d, cfg)
	path := filepath.Join(t.TempDir(), "s")
	lis, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	gs := grpc.NewServer(bridge.ServerOptions(cfg.Limits)...)
	pb.RegisterDriverServer(gs, server)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = gs.Serve(lis) // ends by Stop
	}()
	t.Cleanup(func() { gs.Stop(); <-served })
	return &pair{server: server, cc: dial(t, path, cfg.Limits), path: path}
}

// dial connects to a driver's socket as the host does.
func dial(t testing.TB, path string, limits bridge.Limits) *grpc.ClientConn {
	t.Helper()
	options := append(bridge.DialOptions(limits), grpc.WithTransportCredentials(insecure.NewCredentials()))
	cc, err := grpc.NewClient("unix:"+path, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	return cc
}

// openPeer opens a connection of a peer that is closed at the end of the test.
func openPeer(t testing.TB, peer *bridge.Peer) *bridge.Conn {
	t.Helper()
	return (&pair{peer: peer}).open(t, "v")
}

// open opens a connection that is closed at the end of the test.
func (p *pair) open(t testing.TB, vhost string) *bridge.Conn {
	t.Helper()
	c, err := p.peer.Open(within(t), driver.Config{VirtualHost: vhost, HasVirtualHost: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := c.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return c
}

// within is a deadline for one test's waits.
func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

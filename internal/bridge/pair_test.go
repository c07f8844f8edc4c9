// SPDX-License-Identifier: Apache-2.0

package bridge_test

import (
	"context"
	"log/slog"
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
}

func newPair(t testing.TB, d driver.Driver, limits bridge.Limits) *pair {
	t.Helper()
	server := bridge.NewServer(d, bridge.ServerConfig{
		SDKVersion: "test", Limits: limits, Logger: slog.New(slog.DiscardHandler), Level: new(slog.LevelVar),
		SessionStarted: func() {}, SessionEnded: func() {},
	})
	path := filepath.Join(t.TempDir(), "s")
	lis, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	gs := grpc.NewServer(bridge.ServerOptions(limits)...)
	pb.RegisterDriverServer(gs, server)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = gs.Serve(lis) // ends by Stop
	}()
	t.Cleanup(func() { gs.Stop(); <-served })
	options := append(bridge.DialOptions(limits), grpc.WithTransportCredentials(insecure.NewCredentials()))
	cc, err := grpc.NewClient("unix:"+path, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	peer, err := bridge.Hello(within(t), cc, bridge.HelloOptions{HostVersion: "test", Epoch: testEpoch, Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	return &pair{peer: peer, server: server, cc: cc}
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

// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/parleymq/parley/internal/bridge"
	"github.com/parleymq/parley/internal/memory"
	"github.com/parleymq/parley/plugin/driver"
	pb "github.com/parleymq/parley/plugin/proto"
	"github.com/parleymq/parley/sdk"
)

// The driver "relay" is this test program. Its broker is memory of the test's own process, over a
// socket: it outlives the driver's processes, which meet there.

// relayVariable makes this program that driver; it holds the broker's socket.
const relayVariable = "PARLEY_TEST_RELAY"

// RelayEnvForTest makes a copy of the test program the driver of a broker.
func RelayEnvForTest(socket string) string { return relayVariable + "=" + socket }

func serveRelay(socket string) {
	options := append(bridge.DialOptions(bridge.Limits{}), grpc.WithTransportCredentials(insecure.NewCredentials()))
	cc, err := grpc.NewClient("unix:"+socket, options...)
	if err != nil {
		fmt.Fprintln(os.Stderr, "relay:", err)
		os.Exit(1)
	}
	sdk.Serve(&relay{cc: cc}, nil)
}

type relay struct {
	cc *grpc.ClientConn

	mu   sync.Mutex
	peer *bridge.Peer // guarded by mu; nil before the first Open
}

func (r *relay) Describe() driver.Info {
	info := memory.NewDynamic().Describe()
	info.Name = "relay"
	return info
}

func (r *relay) Open(ctx context.Context, cfg driver.Config) (driver.Conn, error) {
	peer, err := r.greet(ctx)
	if err != nil {
		return nil, err
	}
	report := cfg.Report
	cfg.Report = nil
	c, err := peer.Open(ctx, cfg)
	if err == nil && report != nil {
		report(driver.State{Phase: driver.Ready})
	}
	return c, err
}

func (r *relay) greet(ctx context.Context) (*bridge.Peer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.peer != nil {
		return r.peer, nil
	}
	peer, err := bridge.Hello(ctx, r.cc, bridge.HelloOptions{HostVersion: "test", Epoch: 1})
	if err == nil {
		r.peer = peer
	}
	return peer, err
}

// ServeBrokerForTest serves a driver's Conns at a socket until the end of the test, each process
// that dials as one of its own.
func ServeBrokerForTest(t testing.TB, d driver.Driver) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "broker")
	lis, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var (
		serving sync.WaitGroup
		mu      sync.Mutex // guards servers and over
		servers []*grpc.Server
		over    bool
	)
	serve := func(conn net.Conn) {
		mu.Lock()
		defer mu.Unlock()
		if over {
			_ = conn.Close() // nobody is served any more
			return
		}
		gs := grpc.NewServer(bridge.ServerOptions(bridge.Limits{})...)
		pb.RegisterDriverServer(gs, bridge.NewServer(d, bridge.ServerConfig{Logger: slog.New(slog.DiscardHandler)}))
		servers = append(servers, gs)
		serving.Go(func() { _ = gs.Serve(&oneConn{conn: conn, addr: lis.Addr(), closed: make(chan struct{})}) }) // ends by Stop
	}
	serving.Go(func() {
		for {
			conn, err := lis.Accept()
			if err != nil {
				return // closed
			}
			serve(conn)
		}
	})
	t.Cleanup(func() {
		_ = lis.Close()
		mu.Lock()
		over = true
		all := servers
		mu.Unlock()
		for _, gs := range all {
			gs.Stop()
		}
		serving.Wait()
	})
	return socket
}

// oneConn is a net.Listener of one connection.
type oneConn struct {
	mu     sync.Mutex
	conn   net.Conn // guarded by mu; nil once accepted
	addr   net.Addr
	once   sync.Once
	closed chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	l.mu.Lock()
	c := l.conn
	l.conn = nil
	l.mu.Unlock()
	if c != nil {
		return c, nil
	}
	<-l.closed
	return nil, net.ErrClosed
}

func (l *oneConn) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *oneConn) Addr() net.Addr { return l.addr }

// BreakForTest breaks the streams of a connection, whose process lives on.
func (c *Conn) BreakForTest() {
	if life := c.current.Load(); life != nil {
		life.conn.Abandon()
	}
}

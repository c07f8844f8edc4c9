// SPDX-License-Identifier: Apache-2.0

package bridge_test

import (
	"context"
	"net"
	"path/filepath"
	"runtime"
	"testing"

	"google.golang.org/grpc"

	"github.com/parleymq/parley/internal/bridge"
	"github.com/parleymq/parley/internal/memory"
	"github.com/parleymq/parley/plugin/driver"
	pb "github.com/parleymq/parley/plugin/proto"
)

// boundaryCallers is how many goroutines send, each one message at a time.
const boundaryCallers = 128

// BenchmarkBoundary compares what it costs to hand a message of 1 KiB to the memory driver and
// to learn that it was taken: through the bridge, by a gRPC call over the same kind of socket,
// and in process. The gRPC call hands its message to nobody and returns nothing, or all of it.
func BenchmarkBoundary(b *testing.B) {
	message := func() *driver.Message { return castTo("nobody", "0123456789abcdef", make([]byte, 1024)) }
	b.Run("bridge", func(b *testing.B) {
		c := newPair(b, memory.New(), bridge.Limits{}).open(b, "v")
		callers(b, func() func() error {
			batch := []*driver.Message{message()}
			return func() error { return c.Send(context.Background(), batch) }
		})
	})
	cc := echoServer(b)
	for name, method := range map[string]string{"grpc-unary": "/bench.Echo/Take", "grpc-unary-echo": "/bench.Echo/Echo"} {
		b.Run(name, func(b *testing.B) {
			callers(b, func() func() error {
				in := &pb.Message{Kind: 2, Exchange: "e", Topic: "nobody", UniqueId: "0123456789abcdef", Body: make([]byte, 1024)}
				return func() error { return cc.Invoke(context.Background(), method, in, new(pb.Message)) }
			})
		})
	}
	b.Run("in-process", func(b *testing.B) {
		c, err := memory.New().Open(within(b), driver.Config{VirtualHost: "v", HasVirtualHost: true, Report: func(driver.State) {}})
		if err != nil {
			b.Fatal(err)
		}
		callers(b, func() func() error {
			batch := []*driver.Message{message()}
			return func() error { return c.Send(context.Background(), batch) }
		})
		if err := c.Close(within(b)); err != nil {
			b.Error(err)
		}
	})
}

// callers runs what each caller does.
func callers(b *testing.B, caller func() func() error) {
	b.SetParallelism(max(1, boundaryCallers/runtime.GOMAXPROCS(0)))
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(loop *testing.PB) {
		call := caller()
		for loop.Next() {
			if err := call(); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

// echoServer is a gRPC service with two unary calls, with the settings of a driver.
func echoServer(b *testing.B) *grpc.ClientConn {
	b.Helper()
	unary := func(answer func(*pb.Message) *pb.Message) grpc.MethodHandler {
		return func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			in := new(pb.Message)
			if err := decode(in); err != nil {
				return nil, err
			}
			return answer(in), nil
		}
	}
	gs := grpc.NewServer(bridge.ServerOptions(bridge.Limits{})...)
	gs.RegisterService(&grpc.ServiceDesc{
		ServiceName: "bench.Echo", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{
			{MethodName: "Take", Handler: unary(func(*pb.Message) *pb.Message { return new(pb.Message) })},
			{MethodName: "Echo", Handler: unary(func(m *pb.Message) *pb.Message { return m })},
		},
	}, nil)
	path := filepath.Join(b.TempDir(), "s")
	lis, err := net.Listen("unix", path)
	if err != nil {
		b.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = gs.Serve(lis) // ends by Stop
	}()
	b.Cleanup(func() { gs.Stop(); <-served })
	return dial(b, path, bridge.Limits{})
}

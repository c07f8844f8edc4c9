// SPDX-License-Identifier: Apache-2.0

package driverproc

import (
	"context"
	"sync"

	"google.golang.org/grpc"
)

// ConnKeeper remembers the connection that go-plugin makes. When a process ends between its
// handshake and go-plugin's first stream, go-plugin forgets the connection without closing
// it, and a driver that ends there at each start would cost the host some goroutines each
// time. The first stream passes the interceptor, so the connection is known here.
type ConnKeeper struct {
	mu   sync.Mutex
	conn *grpc.ClientConn // guarded by mu
}

// DialOption is for ClientConfig.GRPCDialOptions.
func (k *ConnKeeper) DialOption() grpc.DialOption {
	return grpc.WithChainStreamInterceptor(k.intercept)
}

func (k *ConnKeeper) intercept(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string,
	next grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	k.mu.Lock()
	k.conn = conn
	k.mu.Unlock()
	return next(ctx, desc, conn, method, opts...)
}

// Close closes the connection, which may be closed already. It is called when go-plugin's
// client is done with.
func (k *ConnKeeper) Close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.conn != nil {
		_ = k.conn.Close() // the only error is that it was closed before
	}
}

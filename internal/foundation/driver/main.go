// SPDX-License-Identifier: Apache-2.0

// Command driver is a driver as it was built in the days of the foundation. It knows the recorded
// contract and go-plugin, and nothing else of Parley: what it gets wrong about today's host, a driver
// of those days in another language gets wrong too. Its broker is the memory of this process.
package main

import (
	"context"
	"io"
	"log/slog"
	"math"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	pb "github.com/parleymq/parley/internal/foundation/contract"
)

// What host and driver agreed on in words, as docs/PROTOCOL.md had it.
const (
	protocolMajor = 1
	pluginName    = "driver"
	cookieKey     = "PARLEY_DRIVER_COOKIE"
	cookieValue   = "speak-to-me-over-the-socket"
	lifelineEnv   = "PARLEY_LIFELINE_FD"

	maxFrameBytes    = 16 << 20
	maxSendsInFlight = 4096
	frameOverhead    = 1 << 10
)

func main() {
	level := new(slog.LevelVar)
	logger := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	life := newLife()
	if pipe := inheritedPipe(); pipe != nil {
		go func() { // ends with the process
			_, _ = io.Copy(io.Discard, pipe) // any end is the end of the host
			life.end()
		}()
	}
	s := newServer(level, logger, life)
	served := make(chan struct{})
	go func() {
		defer close(served)
		plugin.Serve(&plugin.ServeConfig{
			HandshakeConfig: plugin.HandshakeConfig{
				ProtocolVersion: protocolMajor, MagicCookieKey: cookieKey, MagicCookieValue: cookieValue,
			},
			VersionedPlugins: map[int]plugin.PluginSet{protocolMajor: {pluginName: &service{server: s}}},
			GRPCServer:       newGRPC,
			Logger:           hclog.New(&hclog.LoggerOptions{Level: hclog.Error, Output: os.Stderr, JSONFormat: true}),
		})
	}()
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	select {
	case <-served: // the host said Shutdown
	case <-term:
	case <-life.over:
	}
	s.closeAll()
}

func newGRPC(o []grpc.ServerOption) *grpc.Server {
	return grpc.NewServer(append(o,
		grpc.MaxRecvMsgSize(maxFrameBytes+frameOverhead),
		grpc.MaxSendMsgSize(maxFrameBytes+frameOverhead),
		grpc.InitialWindowSize(4<<20),
		grpc.InitialConnWindowSize(16<<20),
		grpc.MaxConcurrentStreams(math.MaxUint32),
	)...)
}

// inheritedPipe returns the pipe whose other end the host holds, or nil.
func inheritedPipe() *os.File {
	fd, err := strconv.Atoi(os.Getenv(lifelineEnv))
	if err != nil || fd < 3 {
		return nil
	}
	return os.NewFile(uintptr(fd), "lifeline")
}

// service is the plugin that this process serves.
type service struct {
	plugin.NetRPCUnsupportedPlugin
	server *server
}

var _ plugin.GRPCPlugin = (*service)(nil)

// GRPCServer implements plugin.GRPCPlugin.
func (p *service) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	pb.RegisterDriverServer(s, p.server)
	return nil
}

// GRPCClient implements plugin.GRPCPlugin; it is the host's side.
func (p *service) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, failure("UNSUPPORTED", "this is the driver's side")
}

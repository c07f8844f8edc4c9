// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"context"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	pb "github.com/parleymq/parley/plugin/proto"
)

// PluginName is the one plugin that a driver process serves.
const PluginName = "driver"

// Handshake is what go-plugin's two sides must agree on. The cookie keeps a person who runs a
// driver by hand from waiting for it; it is no secret.
func Handshake() plugin.HandshakeConfig {
	return plugin.HandshakeConfig{
		ProtocolVersion:  ProtocolMajor,
		MagicCookieKey:   "PARLEY_DRIVER_COOKIE",
		MagicCookieValue: "speak-to-me-over-the-socket",
	}
}

// LifelineEnv names the variable with the number of an inherited pipe's read end. It is at
// end of file when the host is gone.
const LifelineEnv = "PARLEY_LIFELINE_FD"

// Plugins is the set for either side, one for each major; server is nil on the host's.
func Plugins(server *Server) map[int]plugin.PluginSet { return plugins(server, Majors()) }

func plugins(server *Server, m majors) map[int]plugin.PluginSet {
	sets := make(map[int]plugin.PluginSet, len(m))
	for _, major := range m {
		sets[major] = plugin.PluginSet{PluginName: &grpcPlugin{server: server}}
	}
	return sets
}

// grpcPlugin implements plugin.GRPCPlugin.
type grpcPlugin struct {
	plugin.NetRPCUnsupportedPlugin
	server *Server
}

// GRPCServer implements plugin.GRPCPlugin.
func (p *grpcPlugin) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	pb.RegisterDriverServer(s, p.server)
	return nil
}

// GRPCClient implements plugin.GRPCPlugin: the host says Hello on the bare connection.
func (p *grpcPlugin) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, cc *grpc.ClientConn) (any, error) {
	return cc, nil
}

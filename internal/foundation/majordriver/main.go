// SPDX-License-Identifier: Apache-2.0

// Command majordriver is a driver of another major version of the protocol: one that is yet to
// come, or one that is gone. It gets as far as the handshake.
package main

import (
	"context"
	"errors"
	"os"
	"strconv"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
)

// major is set by the linker.
var major = "2"

type service struct{ plugin.NetRPCUnsupportedPlugin }

func (service) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error { return nil }

func (service) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.New("this is the driver's side")
}

func main() {
	n, err := strconv.Atoi(major)
	if err != nil {
		os.Exit(2)
	}
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: plugin.HandshakeConfig{
			ProtocolVersion: uint(n), MagicCookieKey: "PARLEY_DRIVER_COOKIE", MagicCookieValue: "speak-to-me-over-the-socket",
		},
		VersionedPlugins: map[int]plugin.PluginSet{n: {"driver": service{}}},
		GRPCServer:       plugin.DefaultGRPCServer,
		Logger:           hclog.New(&hclog.LoggerOptions{Level: hclog.Error, Output: os.Stderr, JSONFormat: true}),
	})
}

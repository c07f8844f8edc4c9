// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/zmq/internal/node"
	"github.com/parleymq/parley/plugins/zmq/internal/registry"
	"github.com/parleymq/parley/sdk"
)

const driverVersion = "0.1.0"

// zmq is the driver. It keeps nothing: all state belongs to its Conns.
type zmq struct{ sdk.BaseDriver }

func newDriver() *zmq {
	return &zmq{sdk.BaseDriver{Info: driver.Info{
		Name:    "zmq",
		Version: driverVersion,
		Summary: "ZeroMQ between the applications themselves, without a broker",
		Capabilities: []driver.Capability{
			driver.CapRPC, driver.CapFanout, driver.CapScopedFanout, driver.CapMandatory, driver.CapStableReplies,
			driver.CapExpiry, driver.CapRequeue, driver.CapNotifications, driver.CapPools, driver.CapStoredNotifications,
			driver.CapHeaders, driver.CapShared, driver.CapAckOnReceipt, driver.CapDirect,
		},
		Options: optionSpecs(),
	}}}
}

// Open starts a node and returns; it looks for its peers by itself (OPEN-2).
func (*zmq) Open(_ context.Context, cfg driver.Config) (driver.Conn, error) {
	s, err := newSettings(cfg)
	if err != nil {
		return nil, err
	}
	reg, err := registry.Open(s.registry)
	if err != nil {
		return nil, err
	}
	s.node.Registry = reg
	n, err := node.Open(s.node)
	if err != nil {
		_ = reg.Close(context.Background()) // nothing is published yet
		return nil, err
	}
	return n, nil
}

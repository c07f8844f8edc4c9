// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/sdk"
)

const (
	driverVersion = "0.1.0"
	defaultPort   = 5672
)

// qpid is the driver. It keeps nothing: all state belongs to its Conns.
type qpid struct{ sdk.BaseDriver }

func newDriver() *qpid {
	return &qpid{sdk.BaseDriver{Info: driver.Info{
		Name:        "qpid",
		Version:     driverVersion,
		Summary:     "AMQP 1.0 brokers and routers, as oslo.messaging's amqp1 driver speaks to them",
		DefaultPort: defaultPort,
		Capabilities: []driver.Capability{
			driver.CapRPC, driver.CapFanout, driver.CapExpiry, driver.CapRequeue,
			driver.CapNotifications, driver.CapStoredNotifications, driver.CapHeaders, driver.CapShared,
		},
		Options: optionSpecs(),
	}}}
}

// Open starts connecting and returns at once (OPEN-2).
func (*qpid) Open(_ context.Context, cfg driver.Config) (driver.Conn, error) {
	s, err := newSettings(cfg)
	if err != nil {
		return nil, err
	}
	return openConn(s), nil
}

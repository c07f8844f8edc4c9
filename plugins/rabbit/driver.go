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

// rabbit is the driver. It keeps nothing: all state belongs to its Conns.
type rabbit struct{ sdk.BaseDriver }

func newDriver() *rabbit {
	return &rabbit{sdk.BaseDriver{Info: driver.Info{
		Name:        "rabbit",
		Version:     driverVersion,
		Summary:     "RabbitMQ over AMQP 0-9-1, as oslo.messaging's rabbit driver speaks it",
		Aliases:     []string{"kombu"},
		DefaultPort: defaultPort,
		Capabilities: []driver.Capability{
			driver.CapRPC, driver.CapFanout, driver.CapScopedFanout, driver.CapUnscopedFanout,
			driver.CapMandatory, driver.CapStableReplies,
			driver.CapExpiry, driver.CapRequeue, driver.CapNotifications, driver.CapPools, driver.CapStoredNotifications,
			driver.CapQueues, driver.CapHeaders, driver.CapShared,
		},
		Options: optionSpecs(),
	}}}
}

// Open starts connecting and returns at once (OPEN-2).
func (*rabbit) Open(_ context.Context, cfg driver.Config) (driver.Conn, error) {
	s, err := newSettings(cfg)
	if err != nil {
		return nil, err
	}
	return openConn(s), nil
}

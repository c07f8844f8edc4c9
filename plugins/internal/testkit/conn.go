// SPDX-License-Identifier: Apache-2.0

package testkit

import (
	"context"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// Host is the one of a URL with this address, without a login.
func Host(t testing.TB, addr string) driver.Host {
	t.Helper()
	name, port, err := net.SplitHostPort(addr)
	Must(t, err)
	n, err := strconv.Atoi(port)
	Must(t, err)
	return driver.Host{Name: name, Port: n}
}

// Config is that of a Conn of the driver d to the broker at addr, without a login, which logs into
// logs.
func Config(t testing.TB, d driver.Driver, addr, vhost string, logs *Logs, options map[string]string) driver.Config {
	t.Helper()
	info := d.Describe()
	values, err := driver.ValidateOptions(info.Options, options)
	Must(t, err)
	return driver.Config{
		Driver: info.Name, Hosts: []driver.Host{Host(t, addr)}, VirtualHost: vhost, HasVirtualHost: vhost != "",
		Options: values, AppName: "test", Logger: logs.Logger(),
	}
}

// Open opens a Conn that is closed with the test, within closeTimeout.
func Open(t testing.TB, d driver.Driver, cfg driver.Config, closeTimeout time.Duration) driver.Conn {
	t.Helper()
	c, err := d.Open(t.Context(), cfg)
	Must(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		if err := c.Close(ctx); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return c
}

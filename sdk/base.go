// SPDX-License-Identifier: Apache-2.0

package sdk

import (
	"context"

	"github.com/parleymq/parley/plugin/driver"
)

// BaseDriver is embedded in a driver, so that it keeps compiling when the contract grows: it
// answers everything with its Info or with ReasonUnsupported.
type BaseDriver struct{ Info driver.Info }

// Describe returns Info.
func (b BaseDriver) Describe() driver.Info { return b.Info }

// Open refuses.
func (b BaseDriver) Open(context.Context, driver.Config) (driver.Conn, error) {
	return nil, driver.Errorf(driver.ReasonUnsupported, "driver %s cannot open connections", b.Info.Name)
}

// BaseConn is embedded in a Conn for the same reason.
type BaseConn struct{}

// Send refuses.
func (BaseConn) Send(context.Context, []*driver.Message) error {
	return driver.Errorf(driver.ReasonUnsupported, "this driver does not send")
}

// Listen refuses.
func (BaseConn) Listen(_ context.Context, src driver.Source) (driver.Listener, error) {
	return nil, driver.Errorf(driver.ReasonUnsupported, "this driver does not listen to %s", src.Kind)
}

// Ping refuses.
func (BaseConn) Ping(context.Context) error {
	return driver.Errorf(driver.ReasonUnsupported, "this driver cannot ping its broker")
}

// Queues refuses.
func (BaseConn) Queues(context.Context, []driver.NotificationTopic, string) ([]driver.QueueStatus, error) {
	return nil, driver.Errorf(driver.ReasonUnsupported, "this driver cannot tell what waits in queues")
}

// Diagnose refuses.
func (BaseConn) Diagnose(context.Context) ([]driver.Finding, error) {
	return nil, driver.Errorf(driver.ReasonUnsupported, "this driver cannot tell what it sees of its broker")
}

// Close does nothing.
func (BaseConn) Close(context.Context) error { return nil }

var (
	_ driver.Driver         = BaseDriver{}
	_ driver.Conn           = BaseConn{}
	_ driver.Pinger         = BaseConn{}
	_ driver.QueueInspector = BaseConn{}
	_ driver.Diagnoser      = BaseConn{}
)

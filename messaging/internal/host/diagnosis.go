// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"

	"github.com/parleymq/parley/internal/bridge"
	"github.com/parleymq/parley/plugin/driver"
)

// Diagnose implements driver.Diagnoser.
func (c *Conn) Diagnose(ctx context.Context) (findings []driver.Finding, err error) {
	err = c.ask(ctx, func(conn *bridge.Conn) error {
		findings, err = conn.Diagnose(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return findings, nil
}

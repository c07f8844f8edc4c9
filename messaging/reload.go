// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"

	"github.com/parleymq/parley/plugin/driver"
)

// Reload replaces the process of the transport's driver by one of the program that is found
// now: another build, or a newer version beside it. The new process is started and checked, its
// transports are opened and listen there, what is sent goes to it, and the old process ends when it
// has finished what it had. No message is lost, and no call fails. Transports that share the
// process move together.
//
// When the new program does not start, or its first minute ends in a failure, the one before goes
// on, and the error, or a [DriverEvent], says why. ctx bounds the wait; a swap that has begun is
// finished or taken back in any case. A transport without a driver process has nothing to reload:
// ErrUnsupported.
func (t *Transport) Reload(ctx context.Context) error {
	op := operation{verb: "reload driver"}
	r, ok := t.conn.(interface{ Reload(context.Context) error })
	if !ok {
		return op.wrap(driver.Errorf(driver.ReasonUnsupported, "the transport's driver has no process of its own"))
	}
	if err := r.Reload(ctx); err != nil {
		return op.wrap(err)
	}
	return nil
}

// Reload is [Transport.Reload] for all transports of the Host with the driver of that name; an
// empty name means all drivers that run. It returns nil when none runs.
func (h *Host) Reload(ctx context.Context, name string) error {
	if err := h.inner.Reload(ctx, name); err != nil {
		return operation{verb: "reload driver"}.wrap(err)
	}
	return nil
}

// Reset closes the breaker of a driver in the phase Broken, and tries to start it at once. An
// empty name means all. It returns why a driver still does not start.
func (h *Host) Reset(ctx context.Context, name string) error {
	if err := h.inner.Reset(ctx, name); err != nil {
		return operation{verb: "reset driver"}.wrap(err)
	}
	return nil
}

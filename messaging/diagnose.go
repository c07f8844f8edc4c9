// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"

	"github.com/parleymq/parley/plugin/driver"
)

// Finding is one fact that a driver found at its broker, for people. Programs do not decide by it.
type Finding struct {
	// Topic is what it is about, one lower-case word or two.
	Topic string
	// Detail is the fact in one line.
	Detail string
	// Flaw: something does not work, or not well, because of it.
	Flaw bool
	// Hint is what to do about it, possibly several lines; empty when there is nothing to do.
	Hint string
}

// Diagnose asks the driver what it sees of its broker. It waits for the broker until ctx ends, and
// leaves nothing behind there.
//
// It fails with ErrUnsupported when the driver has nothing to tell, with ErrUnavailable when the
// broker could not be asked by the end of ctx, and with ErrClosed.
func (t *Transport) Diagnose(ctx context.Context) ([]Finding, error) {
	op := operation{verb: "diagnose"}
	d, ok := t.conn.(driver.Diagnoser)
	if !ok {
		return nil, op.errorf(CodeUnsupported, nil, "the driver has no way to tell what it sees of its broker")
	}
	if err := t.enter(op); err != nil {
		return nil, err
	}
	defer t.leave()
	found, err := d.Diagnose(ctx)
	if err != nil {
		return nil, op.wrap(err)
	}
	findings := make([]Finding, len(found))
	for i, f := range found {
		findings[i] = Finding(f)
	}
	return findings, nil
}

// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"context"
	"errors"

	"github.com/parleymq/parley/plugin/driver"
)

// InDoubt marks a copy of err as that of a message that may have arrived.
func InDoubt(err *driver.Error) *driver.Error {
	e := *err
	e.InDoubt = true
	return &e
}

// Ended says that a message's ctx ended while it was in the state that cause describes; cause is
// nil when nothing was wrong.
func Ended(ended error, cause *driver.Error) *driver.Error {
	reason := driver.ReasonCancelled
	if errors.Is(ended, context.DeadlineExceeded) {
		reason = driver.ReasonExpired
	}
	if cause == nil {
		return driver.Errorf(reason, "the message was given up before it was sent")
	}
	return driver.Errorf(reason, "the message was given up before it was sent: %w", cause)
}

// Expired is the error of a message whose own time ran out before it left; trouble is what kept it,
// which says more than that time passed, or nil.
func Expired(trouble *driver.Error) error {
	if trouble != nil {
		return trouble
	}
	return driver.Errorf(driver.ReasonExpired, "the message waited longer than its time and was not sent")
}

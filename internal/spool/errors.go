// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/parleymq/parley/plugin/driver"
)

// diskError is err as the failure of what format says. A full disk is a full spool.
func diskError(err error, format string, args ...any) *driver.Error {
	what := fmt.Sprintf(format, args...)
	if e, ok := errors.AsType[*driver.Error](err); ok {
		return e
	}
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return driver.Errorf(driver.ReasonBrokerBlocked, "%s: %w", what, err).WithHint("free space on its disk")
	case errors.Is(err, syscall.EFBIG):
		return driver.Errorf(driver.ReasonBrokerBlocked, "%s: %w", what, err).WithHint("raise the limit of the size of a file (ulimit -f)")
	default:
		return driver.Errorf(driver.ReasonInternal, "%s: %w", what, err).WithHint("look at its disk and at the system's log")
	}
}

func errClosed(dir string) error {
	return driver.Errorf(driver.ReasonClosed, "the spool %s is closed", dir)
}

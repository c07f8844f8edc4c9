// SPDX-License-Identifier: Apache-2.0

package host

import (
	"log/slog"
	"sync"

	"github.com/parleymq/parley/messaging/internal/driverfile"
	"github.com/parleymq/parley/plugin/driver"
)

// warnUnrecorded says once that checksums are not recorded.
func warnUnrecorded(logger *slog.Logger) func(error) {
	var once sync.Once
	return func(why error) {
		once.Do(func() {
			e := driver.AsError(why)
			logger.Warn("checksums of drivers are not recorded", "err", e.Message, "hint", e.Hint)
		})
	}
}

// Trust is what the Host asks of drivers' files.
func (h *Host) Trust() driverfile.Trust { return h.opts.Trust }

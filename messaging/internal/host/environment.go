// SPDX-License-Identifier: Apache-2.0

package host

import (
	"os"

	"github.com/parleymq/parley/messaging/internal/driverproc"
)

// Environment is what a driver that is started now would get.
func (h *Host) Environment() []driverproc.EnvEntry {
	return driverproc.Environment(os.Environ(), h.opts.PassEnv, h.opts.Env)
}

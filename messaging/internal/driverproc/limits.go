// SPDX-License-Identifier: Apache-2.0

package driverproc

import "github.com/parleymq/parley/plugin/driver"

// Limits are what the kernel lets a driver process have. Zero values mean the host's own. None is
// raised above what the host may have itself.
type Limits struct {
	// OpenFiles is how many descriptors it may have open.
	OpenFiles uint64
	// AddressSpace is how much memory it may map, in bytes. A Go program maps far more than
	// it uses.
	AddressSpace uint64
	// Processes is how many processes its user may have.
	Processes uint64
	// NoNewPrivileges keeps it and its children from gaining rights by set-uid programs.
	NoNewPrivileges bool
}

// errorf says that they cannot be set; it does not name the driver.
func (l Limits) errorf(format string, args ...any) *driver.Error {
	return driver.Errorf(driver.ReasonConfig, "cannot be put under its limits: "+format, args...).
		WithHint("set limits outside, in the unit of the service or by a launcher, and none here")
}

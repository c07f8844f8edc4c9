// SPDX-License-Identifier: Apache-2.0

package uplink

import "github.com/parleymq/parley/plugin/driver"

// Permanent reports whether waiting does not heal the cause (SEND-4). That of nil is healed.
func Permanent(cause *driver.Error) bool {
	if cause == nil {
		return false
	}
	switch cause.Reason {
	case driver.ReasonAuthRefused, driver.ReasonVirtualHostMissing, driver.ReasonTLSFailed, driver.ReasonConfig:
		return true
	default:
		return false
	}
}

// Closed says that what is named was closed by its owner.
func Closed(what string) *driver.Error {
	return driver.Errorf(driver.ReasonClosed, "the %s is closed", what)
}

func notYet() *driver.Error {
	return driver.Errorf(driver.ReasonNotConnected, "the broker is not connected yet")
}

// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package spool

import (
	"os"

	"github.com/parleymq/parley/plugin/driver"
)

// lockDir has no way here to keep a second process out.
func lockDir(dir string) (*os.File, error) {
	return nil, driver.Errorf(driver.ReasonUnsupported, "there is no spool on this system: %s cannot be locked", dir)
}

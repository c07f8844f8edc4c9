// SPDX-License-Identifier: Apache-2.0

//go:build unix

package spool

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/parleymq/parley/plugin/driver"
)

// lockDir makes the directory if it is missing and locks it for this process until the file is
// closed, which a killed process does too.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, driver.Errorf(driver.ReasonConfig, "make the directory of the spool: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, driver.Errorf(driver.ReasonConfig, "look at the directory of the spool: %w", err)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return nil, driver.Errorf(driver.ReasonConfig, "others may write to the directory of the spool %s (mode %o)", dir, info.Mode().Perm()).
			WithHint("chmod 700 it")
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, diskError(err, "lock the spool %s", dir)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, driver.Errorf(driver.ReasonConfig, "the spool %s is used by another process", dir).
				WithHint("give each its own directory")
		}
		return nil, diskError(err, "lock the spool %s", dir)
	}
	return lock, nil
}

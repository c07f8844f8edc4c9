// SPDX-License-Identifier: Apache-2.0

package driverfile

import (
	"path/filepath"

	"github.com/parleymq/parley/plugin/driver"
)

// LockFileVariable names the environment variable that says where checksums are kept.
const LockFileVariable = "PARLEY_LOCK_FILE"

// TrustMode says what a driver's file must prove.
type TrustMode uint8

// The modes.
const (
	// TrustLock: the checksum of a file is recorded when it is first used, and a file that has
	// another one later is refused until somebody accepts it.
	TrustLock TrustMode = iota
	// TrustOff: owner and mode of the file and its directory are enough.
	TrustOff
	// TrustRequire: a file whose checksum is not recorded is refused.
	TrustRequire
)

// Trust is what is asked of a driver's file, beside its owner and mode.
type Trust struct {
	Mode TrustMode
	// LockFile is where the checksums are; empty for the default.
	LockFile string
	// Unrecorded, when not nil, is told why TrustLock cannot record checksums where they are
	// kept by default. Drivers are started all the same.
	Unrecorded func(why error)
}

// lockFile finds the place of the checksums. env is os.Getenv, or a test's.
func (t Trust) lockFile(env func(string) string) (lockFile, error) {
	for _, path := range []string{t.LockFile, env(LockFileVariable)} {
		if path == "" {
			continue
		}
		abs, err := filepath.Abs(path)
		if err != nil {
			return lockFile{}, driver.Errorf(driver.ReasonConfig, "the lock file %s cannot be found: %w", path, err).
				WithHint("give its absolute path")
		}
		return lockFile{path: abs, named: true}, nil
	}
	if state := env("XDG_STATE_HOME"); filepath.IsAbs(state) {
		return lockFile{path: filepath.Join(state, "parley", "parley.lock")}, nil
	}
	if home := env("HOME"); filepath.IsAbs(home) {
		return lockFile{path: filepath.Join(home, ".local", "state", "parley", "parley.lock")}, nil
	}
	return lockFile{}, driver.Errorf(driver.ReasonConfig,
		"there is no place for the checksums of drivers: %s, XDG_STATE_HOME and HOME are not set", LockFileVariable).
		WithHint("set %s, or the host's option LockFile, to a file in a directory that only this user may write to", LockFileVariable)
}

func (t Trust) tellUnrecorded(why error) {
	if t.Unrecorded != nil {
		t.Unrecorded(why)
	}
}

// SPDX-License-Identifier: Apache-2.0

//go:build unix

package driverproc

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Live lists the directories whose name begins with prefix and whose owner lives.
func (b *Base) Live(prefix string) ([]string, error) {
	entries, err := os.ReadDir(b.path)
	if err != nil {
		return nil, runDirError(b.path, err)
	}
	var live []string
	for _, entry := range entries {
		path := filepath.Join(b.path, entry.Name())
		if entry.IsDir() && strings.HasPrefix(entry.Name(), prefix) && locked(path) {
			live = append(live, path)
		}
	}
	return live, nil
}

// locked reports whether somebody holds the lock of a directory.
func locked(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer closeAll(f)
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}

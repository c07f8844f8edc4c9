// SPDX-License-Identifier: Apache-2.0

package peertest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// The oslo.messaging releases that the tests meet.
const (
	// OsloDebian is the release in Debian 12, for the system's interpreter.
	OsloDebian = "14.0.3"
	// OsloNewest is the pinned release in the virtual environment.
	OsloNewest = "18.3.1"
)

// Python is an interpreter that has one release of oslo.messaging.
type Python struct {
	Name string // the release of oslo.messaging
	Path string // the interpreter
}

// FindPython returns the interpreter for a release of oslo.messaging.
func FindPython(release string) (Python, error) {
	switch release {
	case OsloDebian:
		const library = "/usr/lib/python3/dist-packages/oslo_messaging"
		if _, err := os.Stat(library); err != nil {
			return Python{}, missing("Debian's python3-oslo.messaging", err)
		}
		return Python{Name: release, Path: "/usr/bin/python3"}, nil
	case OsloNewest:
		dir, err := venvDir(release)
		if err != nil {
			return Python{}, err
		}
		// install.sh writes this file last.
		if _, err := os.Stat(filepath.Join(dir, "installed.txt")); err != nil {
			return Python{}, missing("Python's oslo.messaging "+release, err)
		}
		return Python{Name: release, Path: filepath.Join(dir, "bin", "python")}, nil
	default:
		return Python{}, fmt.Errorf("no oslo.messaging %q in these tests, there is %s and %s", release, OsloDebian, OsloNewest)
	}
}

// Pythons returns an interpreter for each release that the tests meet, the
// newest first.
func Pythons(tb testing.TB) []Python {
	tb.Helper()
	releases := []string{OsloNewest, OsloDebian}
	found := make([]Python, 0, len(releases))
	for _, release := range releases {
		python, err := FindPython(release)
		require(tb, err)
		found = append(found, python)
	}
	return found
}

// venvDir is where install.sh puts the virtual environment of a release.
func venvDir(release string) (string, error) {
	cache := os.Getenv("PARLEY_CACHE")
	if cache == "" {
		base := os.Getenv("XDG_CACHE_HOME")
		if base == "" {
			home := os.Getenv("HOME")
			if home == "" {
				return "", errors.New("find the cache of the test peers: set PARLEY_CACHE or HOME")
			}
			base = filepath.Join(home, ".cache")
		}
		cache = filepath.Join(base, "parley")
	}
	return filepath.Join(cache, "python", "oslo.messaging-"+release), nil
}

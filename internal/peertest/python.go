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
	// OsloAMQP1 is the last release with a driver for AMQP 1.0, "amqp://". Its options have to
	// be those of AMQP1Conf.
	OsloAMQP1 = "14.9.3"
)

// Python is an interpreter that has one release of oslo.messaging.
type Python struct {
	Name string // the release of oslo.messaging
	Path string // the interpreter
	// Library, when not empty, goes in front of the interpreter's own packages.
	Library string
}

// environ is the environment of a script of the interpreter, but for its place.
func (p Python) environ() []string {
	env := []string{
		"PATH=" + os.Getenv("PATH"),
		"LANG=C.UTF-8",
		"PYTHONUNBUFFERED=1",
		"PYTHONDONTWRITEBYTECODE=1",
	}
	if p.Library != "" {
		env = append(env, "PYTHONPATH="+p.Library)
	}
	return env
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
		dir, err := installedVenv(release)
		if err != nil {
			return Python{}, err
		}
		return Python{Name: release, Path: filepath.Join(dir, "bin", "python")}, nil
	case OsloAMQP1:
		python, err := FindPython(OsloNewest)
		if err != nil {
			return Python{}, err
		}
		python.Name = release
		python.Library, err = installedVenv(release)
		return python, err
	default:
		return Python{}, fmt.Errorf("no oslo.messaging %q in these tests, there is %s, %s and %s", release, OsloDebian, OsloNewest, OsloAMQP1)
	}
}

// AMQP1Conf is the configuration that a Python peer of OsloAMQP1 needs on Broker-J. By itself it
// would choose addresses that Broker-J takes apart, and send requests of both settlements over
// one link, which Broker-J ends the connection for.
func AMQP1Conf() map[string]map[string]any {
	return map[string]map[string]any{"oslo_messaging_amqp": {
		"addressing_mode": "legacy", "pre_settled": "rpc-reply", "pseudo_vhost": true,
	}}
}

// PythonAMQP1 returns the interpreter of OsloAMQP1.
func PythonAMQP1(tb testing.TB) Python {
	tb.Helper()
	python, err := FindPython(OsloAMQP1)
	require(tb, err)
	return python
}

// installedVenv is venvDir of a release that is there.
func installedVenv(release string) (string, error) {
	dir, err := venvDir(release)
	if err != nil {
		return "", err
	}
	// install.sh writes this file last.
	if _, err := os.Stat(filepath.Join(dir, "installed.txt")); err != nil {
		return "", missing("Python's oslo.messaging "+release, err)
	}
	return dir, nil
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
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(cache, "python", "oslo.messaging-"+release), nil
}

// cacheDir is where install.sh puts what it fetches.
func cacheDir() (string, error) {
	if cache := os.Getenv("PARLEY_CACHE"); cache != "" {
		return cache, nil
	}
	base := os.Getenv("XDG_CACHE_HOME")
	if base == "" {
		home := os.Getenv("HOME")
		if home == "" {
			return "", errors.New("find the cache of the test peers: set PARLEY_CACHE or HOME")
		}
		base = filepath.Join(home, ".cache")
	}
	return filepath.Join(base, "parley"), nil
}

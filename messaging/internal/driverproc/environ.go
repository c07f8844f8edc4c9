// SPDX-License-Identifier: Apache-2.0

package driverproc

import (
	"slices"
	"strings"
)

// LifelineVariable tells a driver the number of a file descriptor that reads end-of-file when
// the host is gone.
const LifelineVariable = "PARLEY_LIFELINE_FD"

// DriverFileVariable tells a driver the path of its own program. A script needs it to find
// files beside it, because it is started under another path.
const DriverFileVariable = "PARLEY_DRIVER_FILE"

// DriverDirVariable names the private directory of the driver process. It is passed on to
// children, and marks them: whatever carries it is killed when the driver has ended.
const DriverDirVariable = "PARLEY_DRIVER_DIR"

// HostProcessVariable names the process of the host, so that the next host knows whose children
// are left over.
const HostProcessVariable = "PARLEY_HOST_PROCESS"

// passed are the variables of the host that every driver gets. PATH is one of them, or
// "#!/usr/bin/env python3" finds no interpreter. Nothing else of the host's environment
// crosses: it often holds credentials of the application.
func passed(name string) bool {
	switch name {
	case "PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR",
		"SSL_CERT_FILE", "SSL_CERT_DIR",
		"GOMAXPROCS", "GODEBUG", "GOTRACEBACK", "GOGC", "GOMEMLIMIT", "GOCOVERDIR", "GORACE":
		return true
	}
	switch strings.ToLower(name) {
	case "http_proxy", "https_proxy", "no_proxy", "all_proxy":
		return true
	}
	return strings.HasPrefix(name, "LC_") || strings.HasPrefix(name, "OTEL_")
}

// driverEnv is the environment of a driver without what go-plugin adds: the allowed part of
// the host's, the further names to pass, and the operator's own entries, which win.
func driverEnv(host, pass, own []string) []string {
	var env []string
	for _, entry := range host {
		name, _, ok := strings.Cut(entry, "=")
		if ok && (passed(name) || slices.Contains(pass, name)) {
			env = append(env, entry)
		}
	}
	return append(env, own...)
}

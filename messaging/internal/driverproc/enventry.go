// SPDX-License-Identifier: Apache-2.0

package driverproc

import (
	"maps"
	"net/url"
	"slices"
	"strings"
)

// The origins of a variable that a driver gets.
const (
	OriginHost   = "host"   // every driver gets it, when the host has it
	OriginPassed = "passed" // of the host, named by an option
	OriginOption = "option" // given by an option, with its value
	OriginParley = "parley" // set for each process
)

// EnvEntry is a variable that a driver gets.
type EnvEntry struct {
	Name string
	// Value is masked when the name looks like that of a secret. Those that are made for each
	// process have none.
	Value  string
	Origin string
}

// made are the variables that are set for each process, the last four by go-plugin. The host's
// cookie is not among them: it is no setting.
var made = [...]string{
	LifelineVariable, DriverFileVariable, DriverDirVariable, HostProcessVariable,
	"PLUGIN_UNIX_SOCKET_DIR", "PLUGIN_PROTOCOL_VERSIONS", "PLUGIN_MIN_PORT", "PLUGIN_MAX_PORT",
}

// Environment is what a driver would get, sorted by name: of the environment host, with the
// further names to pass and the entries of the operator's own, as Spec has them.
func Environment(host, pass, own []string) []EnvEntry {
	all := make(map[string]EnvEntry)
	for _, entry := range driverEnv(host, pass, nil) {
		name, value, _ := strings.Cut(entry, "=")
		origin := OriginHost
		if !passed(name) {
			origin = OriginPassed
		}
		all[name] = EnvEntry{Name: name, Value: masked(name, value), Origin: origin}
	}
	for _, entry := range own {
		name, value, ok := strings.Cut(entry, "=")
		if ok {
			all[name] = EnvEntry{Name: name, Value: masked(name, value), Origin: OriginOption}
		}
	}
	for _, name := range made {
		all[name] = EnvEntry{Name: name, Origin: OriginParley}
	}
	return slices.SortedFunc(maps.Values(all), func(a, b EnvEntry) int { return strings.Compare(a.Name, b.Name) })
}

// mask stands for a value that is not shown.
const mask = "***"

// masked hides what looks secret: by the name, or a password within a URL.
func masked(name, value string) string {
	if value == "" {
		return value
	}
	upper := strings.ToUpper(name)
	for _, word := range []string{"PASSWORD", "PASSWD", "SECRET", "TOKEN", "KEY", "CREDENTIAL", "HEADERS"} {
		if strings.Contains(upper, word) {
			return mask
		}
	}
	if !strings.Contains(value, "@") {
		return value
	}
	u, err := url.Parse(value)
	if err != nil || u.Host == "" && strings.Contains(value, ":") {
		return mask // it may be an address without a scheme, "user:password@host"
	}
	if _, has := u.User.Password(); has {
		return u.Redacted()
	}
	return value
}

// SPDX-License-Identifier: Apache-2.0

package driverfile

import (
	"strings"

	"github.com/parleymq/parley/plugin/driver"
)

// checkPin refuses a pin that no file name can fit.
func (p SearchPath) checkPin(name string) error {
	pin := p.Pins[name]
	if _, ok := parseVersion(pin); ok || pin == "" {
		return nil
	}
	return driver.Errorf(driver.ReasonConfig, "driver %s is pinned to %q, which is not a version", name, pin).
		WithHint("write it as in the file's name, X.Y.Z")
}

// pinNotFound says where was looked for the version, and which ones there are.
func (p SearchPath) pinNotFound(name string, all []Candidate, unread map[string]error) error {
	pin := p.Pins[name]
	return driver.Errorf(driver.ReasonConfig, "driver %s is pinned to version %s, which is not found; looked in %s; %s",
		name, pin, p.describe(unread), describeVersions(name, all)).
		WithHint("put the program %s%s_v%s into one of these directories, or pin another version", Prefix, name, pin)
}

func describeVersions(name string, all []Candidate) string {
	var found []string
	for _, c := range all {
		switch {
		case c.Name != name:
		case c.Version == "":
			found = append(found, "no version ("+c.Path+")")
		default:
			found = append(found, c.Version+" ("+c.Path+")")
		}
	}
	if len(found) == 0 {
		return "no version is there"
	}
	return "versions there: " + strings.Join(found, ", ")
}

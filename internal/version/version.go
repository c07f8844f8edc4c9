// SPDX-License-Identifier: Apache-2.0

// Package version holds the version of this build, for the handshake and for people.
package version

import "runtime/debug"

// Number is the version of the library, the command and the drivers of this module: they are
// released together.
const Number = "0.1.0"

// Revision returns the commit this binary was built from, when Go recorded one.
func Revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}

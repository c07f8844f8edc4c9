// SPDX-License-Identifier: Apache-2.0

package driverfile

import (
	"cmp"
	"strconv"
	"strings"
)

// Prefix starts the file name of every driver.
const Prefix = "parley-driver-"

// maxName bounds a driver's name; a URL's scheme is never longer.
const maxName = 64

// splitFileName takes parley-driver-NAME[_vX.Y.Z] apart.
func splitFileName(file string) (name, version string, ok bool) {
	rest, ok := strings.CutPrefix(file, Prefix)
	if !ok {
		return "", "", false
	}
	name, version, versioned := strings.Cut(rest, "_v")
	if !validName(name) {
		return "", "", false
	}
	if _, ok := parseVersion(version); versioned && !ok {
		return "", "", false
	}
	return name, version, true
}

// validName reports whether name has only lower-case letters, digits and dashes, with a
// letter or digit at both ends.
func validName(name string) bool {
	if name == "" || len(name) > maxName || name[0] == '-' || name[len(name)-1] == '-' {
		return false
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// parseVersion reads "X.Y.Z".
func parseVersion(text string) (v [3]uint32, ok bool) {
	parts := strings.Split(text, ".")
	if len(parts) != len(v) {
		return v, false
	}
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, 32)
		if err != nil || (len(part) > 1 && part[0] == '0') {
			return v, false
		}
		v[i] = uint32(n)
	}
	return v, true
}

// compareVersions orders versions; one that is missing comes before all others.
func compareVersions(a, b string) int {
	va, oka := parseVersion(a)
	vb, okb := parseVersion(b)
	switch {
	case !oka && !okb:
		return 0
	case !oka:
		return -1
	case !okb:
		return 1
	}
	for i := range va {
		if by := cmp.Compare(va[i], vb[i]); by != 0 {
			return by
		}
	}
	return 0
}

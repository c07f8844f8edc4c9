// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/parleymq/parley/plugin/driver"
)

// ProtocolMajor is the newest major of the protocol that this package speaks.
const ProtocolMajor = 1

// Majors are all that it speaks, in ascending order. A new major is added here, and the one
// before stays for the drivers and applications that were built with it.
func Majors() []int { return []int{ProtocolMajor} }

// majors are what one side speaks.
type majors []int

func (m majors) orDefault() majors {
	if len(m) == 0 {
		return Majors()
	}
	return m
}

func (m majors) toProto() []uint32 {
	out := make([]uint32, len(m))
	for i, n := range m {
		out[i] = uint32(n)
	}
	return out
}

func majorsFromProto(in []uint32) majors {
	out := make(majors, len(in))
	for i, n := range in {
		out[i] = int(n)
	}
	return out
}

// common returns the highest major that both sides speak.
func (m majors) common(other majors) (int, bool) {
	best, found := 0, false
	for _, n := range m {
		if slices.Contains(other, n) && (!found || n > best) {
			best, found = n, true
		}
	}
	return best, found
}

func (m majors) String() string {
	texts := make([]string, len(m))
	for i, n := range m {
		texts[i] = strconv.Itoa(n)
	}
	return strings.Join(texts, ", ")
}

// noCommonMajor says what either side speaks, which of them is the older one and what to do.
// driverIs names the driver's side more closely.
func noCommonMajor(host, drv majors, driverIs string) *driver.Error {
	err := protocolError("%s speaks protocol major %s, the host speaks %s", driverIs, drv, host)
	switch {
	case len(host) == 0 || len(drv) == 0:
		return err
	case slices.Max(drv) < slices.Min(host):
		err.Message += ": the driver is older"
		return err.WithHint("install a newer version of the driver, or build it with a newer SDK")
	case slices.Min(drv) > slices.Max(host):
		err.Message += ": the host is older"
		return err.WithHint("upgrade the application's parley module, or install an older version of the driver")
	default:
		return err.WithHint("install a version of the driver that speaks one of the host's majors")
	}
}

// sdkName is how a driver's side names itself in such an error.
func sdkName(name, sdk string) string { return fmt.Sprintf("driver %s (SDK %s)", name, sdk) }

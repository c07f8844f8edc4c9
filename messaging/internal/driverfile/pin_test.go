// SPDX-License-Identifier: Apache-2.0

package driverfile

import (
	"os"
	"testing"

	"github.com/parleymq/parley/messaging/internal/hosttest"
	"github.com/parleymq/parley/plugin/driver"
)

func TestPins(t *testing.T) {
	first, second := hosttest.PrivateDir(t), hosttest.PrivateDir(t)
	plain := hosttest.WriteProgram(t, first, "rabbit", anyScript)
	newest := hosttest.WriteProgram(t, first, "rabbit_v1.10.0", anyScript)
	old := hosttest.WriteProgram(t, first, "rabbit_v1.9.0", anyScript)
	later := hosttest.WriteProgram(t, second, "rabbit_v1.2.0", anyScript)
	again := hosttest.WriteProgram(t, second, "rabbit_v1.9.0", anyScript)
	fake := hosttest.WriteProgram(t, second, "fake_v0.1.0", anyScript)

	for _, tc := range []struct{ pin, want string }{
		{"", newest},
		{"1.9.0", old},
		{"1.2.0", later}, // however far behind
		{"1.10.0", newest},
	} {
		p := pathOf(first, second)
		p.Pins = map[string]string{"rabbit": tc.pin, "absent": "1.0.0"}
		c, err := p.Find("rabbit")
		if err != nil || c.Path != tc.want || c.Status != Chosen {
			t.Errorf("pin %q: got %+v, %v", tc.pin, c, err)
		}
		if c, err := p.Find("fake"); err != nil || c.Path != fake {
			t.Errorf("a driver that is not pinned: got %+v, %v", c, err)
		}
	}

	p := pathOf(first, second)
	p.Pins = map[string]string{"rabbit": "1.9.0"}
	why := map[string]string{
		plain: "the pin to version 1.9.0", newest: "the pin to version 1.9.0", later: "the pin to version 1.9.0", again: old,
	}
	for _, c := range p.List() {
		if want, shadowed := why[c.Path]; shadowed && (c.Status != Shadowed || c.Why != want) {
			t.Errorf("got %+v, want shadowed by %s", c, want)
		}
	}

	for pin, texts := range map[string][]string{
		"2.0.0": {
			"driver rabbit is pinned to version 2.0.0, which is not found", first + " (option)", "versions there: 1.10.0 (" + newest + ")",
			"1.9.0 (" + old + ")", "no version (" + plain + ")", "1.2.0 (" + later + ")", "put the program parley-driver-rabbit_v2.0.0",
		},
		"v1.9.0": {`pinned to "v1.9.0", which is not a version`, "X.Y.Z"},
		"latest": {`pinned to "latest"`},
	} {
		p.Pins["rabbit"] = pin
		_, err := p.Find("rabbit")
		hosttest.MustSay(t, driver.AsError(err), driver.ReasonConfig, texts...)
	}
	p.Pins["kafka"] = "1.0.0"
	_, err := p.Find("kafka")
	hosttest.MustSay(t, driver.AsError(err), driver.ReasonConfig, "driver kafka is pinned", "no version is there")

	// A pinned file that cannot be trusted does not make room for the same version further down.
	must(t, os.Chmod(old, 0o777))
	p.Pins["rabbit"] = "1.9.0"
	_, err = p.Find("rabbit")
	hosttest.MustSay(t, driver.AsError(err), driver.ReasonConfig, "is refused", "chmod go-w "+old)
}

// TestPinnedIsAcceptedByPath: without the pin the name would mean another file.
func TestPinnedIsAcceptedByPath(t *testing.T) {
	dir := hosttest.PrivateDir(t)
	hosttest.WriteProgram(t, dir, "x_v2.0.0", anyScript)
	old := hosttest.WriteProgram(t, dir, "x_v1.0.0", anyScript)
	p := pathOf(dir)
	p.Pins = map[string]string{"x": "1.0.0"}
	c, err := p.Find("x")
	must(t, err)
	trust := testTrust(t, TrustRequire)
	mustRefuse(t, c, trust, "run: parley drivers accept --lock-file "+trust.LockFile+" "+old)
}

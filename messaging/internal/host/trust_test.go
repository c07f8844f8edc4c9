// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/parleymq/parley/messaging/internal/driverfile"
	"github.com/parleymq/parley/messaging/internal/hosttest"
	"github.com/parleymq/parley/plugin/driver"
)

// TestNoHome: without a place for checksums drivers start, and one record tells of it.
func TestNoHome(t *testing.T) {
	drivers := FakeDriverDir(t) // which needs the variables
	for _, name := range []string{"HOME", "XDG_STATE_HOME", driverfile.LockFileVariable} {
		t.Setenv(name, "")
	}
	logs := &hosttest.Records{}
	h := New(Options{DriverPath: []string{drivers}, RuntimeDir: hosttest.ShortDir(t), Logger: logs.Logger()})
	for range 2 {
		if _, err := h.Describe(t.Context(), "fake"); err != nil {
			t.Fatal(err)
		}
	}
	said := 0
	for _, r := range logs.All(t) {
		if r["msg"] == "checksums of drivers are not recorded" {
			said++
			if r["level"] != "WARN" || r["hint"] == "" {
				t.Errorf("got %v", r)
			}
		}
	}
	if said != 1 {
		t.Errorf("said %d times", said)
	}
}

// TestRequiredChecksum: nothing is started that nobody has accepted.
func TestRequiredChecksum(t *testing.T) {
	trust := driverfile.Trust{Mode: driverfile.TrustRequire, LockFile: filepath.Join(hosttest.PrivateDir(t), "parley.lock")}
	h := New(Options{
		DriverPath: []string{FakeDriverDir(t)}, RuntimeDir: hosttest.ShortDir(t), Trust: trust, Logger: (&hosttest.Records{}).Logger(),
	})
	_, err := h.Describe(t.Context(), "fake")
	e, ok := errors.AsType[*driver.Error](err)
	if !ok {
		t.Fatalf("got %v", err)
	}
	hosttest.MustSay(t, e, driver.ReasonConfig, "is not recorded in "+trust.LockFile, "parley drivers accept")
	c, err := h.SearchPath().Find("fake")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Trust().Accept(c); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Describe(t.Context(), "fake"); err != nil {
		t.Error(err)
	}
}

// TestPinnedVersion starts the version that is asked for, though a newer one is there.
func TestPinnedVersion(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(FakeDriverDir(t), "parley-driver-fake"))
	if err != nil {
		t.Fatal(err)
	}
	dir := hosttest.PrivateDir(t)
	hosttest.WriteProgram(t, dir, "fake_v0.1.0", string(text))
	hosttest.WriteProgram(t, dir, "fake_v9.0.0", "#!/bin/sh\nexit 1\n")
	h := New(Options{
		DriverPath: []string{dir}, RuntimeDir: hosttest.ShortDir(t), Pins: map[string]string{"fake": "0.1.0"}, Logger: (&hosttest.Records{}).Logger(),
	})
	if _, err := h.Describe(t.Context(), "fake"); err != nil {
		t.Error(err)
	}
}

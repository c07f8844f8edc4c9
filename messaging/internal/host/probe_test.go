// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/parleymq/parley/internal/memory"
	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/sdk"
)

// probeVariable makes this test program a driver that tells what it was opened with.
const probeVariable = "PARLEY_TEST_PROBE"

// ProbeEnvForTest makes a copy of the test program the driver.
const ProbeEnvForTest = probeVariable + "=1"

// InstallProbeForTest puts the driver "probe" into a directory.
func InstallProbeForTest(t testing.TB, dir string) { InstallSelfForTest(t, dir, "probe") }

// InstallSelfForTest puts a copy of the test program into a directory, as a driver of that name.
func InstallSelfForTest(t testing.TB, dir, name string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "parley-driver-"+name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
}

func serveProbe() { sdk.Serve(&probe{Driver: memory.New()}, nil) }

type probe struct{ *memory.Driver }

func (p *probe) Describe() driver.Info {
	info := p.Driver.Describe()
	info.Name = "probe"
	return info
}

func (p *probe) Open(ctx context.Context, cfg driver.Config) (driver.Conn, error) {
	c, err := p.Driver.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &probeConn{Conn: c, instance: cfg.Instance}, nil
}

type probeConn struct {
	driver.Conn
	instance string
}

// Ping fails with the process and the instance.
func (c *probeConn) Ping(context.Context) error {
	return &driver.Error{Reason: driver.ReasonUnsupported, Message: strconv.Itoa(os.Getpid()) + " " + c.instance}
}

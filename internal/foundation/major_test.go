// SPDX-License-Identifier: Apache-2.0

package foundation

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/plugin/driver"
)

var elapsed = regexp.MustCompile(`after [0-9.]+m?s;`)

// TestOtherMajor: the error says which side is the older one, and what to do.
func TestOtherMajor(t *testing.T) {
	for major, want := range map[string]string{
		"2": "open other: driver other (FILE) speaks protocol major 2, this host speaks 1: the host is older, after TIME; " +
			"upgrade the application's parley module, or install an older version of the driver",
		"0": "open other: driver other (FILE) speaks protocol major 0, this host speaks 1: the driver is older, after TIME; " +
			"install a newer version of the driver",
	} {
		t.Run("driver of major "+major, func(t *testing.T) {
			drivers := build(t, root, "internal/foundation/majordriver", "other", "-ldflags=-X main.major="+major)
			runtime, err := os.MkdirTemp("/tmp", "pf")
			must(t, err)
			t.Cleanup(func() { _ = os.RemoveAll(runtime) })
			logs := testbed.NewLogs(t)
			host := messaging.NewHost(&messaging.HostOptions{
				DriverPath: []string{drivers}, RuntimeDir: runtime, Logger: logs.Logger(),
				LockFile: filepath.Join(t.TempDir(), "parley.lock"),
			})
			_, err = messaging.Open(soon(t), "other://", &messaging.Options{Host: host, Logger: logs.Logger()})
			if err == nil || driver.ReasonOf(err) != driver.ReasonProtocol {
				t.Fatalf("got %v", err)
			}
			got := strings.Replace(err.Error(), filepath.Join(drivers, "parley-driver-other"), "FILE", 1)
			if got = elapsed.ReplaceAllString(got, "after TIME;"); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			bed := testbed.Bed{Drivers: drivers, Runtime: runtime}
			testbed.Eventually(t, patience, "nothing is left", func() bool { return len(bed.Left()) == 0 })
		})
	}
}

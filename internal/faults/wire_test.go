// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"os"
	"testing"

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/plugin/driver"
)

// times is how often a fault is made on a wire: what is the library's has been tried on the first
// one, and a third of it is enough for what is the driver's.
func times(w *testbed.Wire, n int) int {
	if w.Has(driver.CapDirect) {
		return max(2, n/3)
	}
	return n
}

// mustLeavePlace checks what is left where applications met, when all of them have ended. A
// driver that was killed may leave its record until that is too old.
func mustLeavePlace(t *testing.T, place *testbed.Place, killed int) {
	t.Helper()
	if place.Broker != nil {
		mustLeaveQueues(t, place.Broker, place.Vhost)
		return
	}
	files, err := os.ReadDir(place.Directory)
	if err != nil {
		t.Fatal(err)
	}
	names := make([]string, len(files))
	for i, f := range files {
		names[i] = f.Name()
	}
	t.Logf("%d files are left of %d drivers that were killed", len(names), killed)
	if len(names) > killed {
		t.Errorf("left behind: %v", names)
	}
}

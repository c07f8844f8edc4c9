// SPDX-License-Identifier: Apache-2.0

package functional

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/testbed"
)

var bed = testbed.Bed{Also: []string{"zmq", "qpid"}}

func TestMain(m *testing.M) {
	if err := testbed.EndQuickly(); err != nil { // every test ends a driver or two
		panic(err)
	}
	os.Exit(bed.Main(m, testbed.Programs{"parley-driver-fake": "plugins/fake"}))
}

const (
	// patience bounds every wait for what must happen, on a machine that does other things.
	patience = 30 * time.Second
	// slack is how much later than its timeout a call may return on such a machine.
	slack = 3 * time.Second
	// late is the same where nothing else would take as long: a machine may be very busy.
	late = 10 * time.Second
)

func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

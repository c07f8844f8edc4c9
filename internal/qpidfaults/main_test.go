// SPDX-License-Identifier: Apache-2.0

package qpidfaults

import (
	"os"
	"testing"

	"github.com/parleymq/parley/internal/ledger"
	"github.com/parleymq/parley/internal/testbed"
)

// bed has the driver.
var bed testbed.Bed

// plan says how long the run is.
func plan() ledger.Plan {
	return ledger.Plan{Time: "PARLEY_QPIDFAULTS_TIME", Only: "PARLEY_QPIDFAULTS_ONLY"}
}

func TestMain(m *testing.M) {
	testbed.ActAsApp(actAsApp)
	os.Exit(bed.MainWith(m, "qpid"))
}

// SPDX-License-Identifier: Apache-2.0

package zmqfaults

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/parleymq/parley/internal/ledger"
	"github.com/parleymq/parley/internal/testbed"
)

// sideBySide is how many runs go on at a time.
const sideBySide = 4

// bed has the driver.
var bed testbed.Bed

// plan says how long the runs are.
func plan() ledger.Plan {
	return ledger.Plan{Time: "PARLEY_ZMQFAULTS_TIME", Only: "PARLEY_ZMQFAULTS_ONLY"}
}

func TestMain(m *testing.M) {
	testbed.ActAsApp(actAsApp)
	// Most of a run is waiting.
	flag.Parse()
	if err := flag.Set("test.parallel", strconv.Itoa(sideBySide)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(bed.MainWith(m, "zmq"))
}

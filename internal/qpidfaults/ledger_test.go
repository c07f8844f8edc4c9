// SPDX-License-Identifier: Apache-2.0

package qpidfaults

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/ledger"
	"github.com/parleymq/parley/internal/testbed"
)

// TestLedger breaks everything between sixteen callers and two servers.
func TestLedger(t *testing.T) {
	t.Parallel()
	r := newRun(t, nil)
	r.disturb()
	rep := r.end()
	t.Logf("\n%s", rep)
	if len(rep.Broken) > 0 {
		t.Error("promises were broken")
	}
	if rep.Answered == 0 || rep.Accepted == 0 {
		t.Error("nothing was answered or accepted: the test proves nothing")
	}
}

// TestWhatIsBrokenIsFound breaks each promise once: a check that cannot fail is none.
func TestWhatIsBrokenIsFound(t *testing.T) {
	t.Parallel()
	// Of the calls that are in doubt some may have begun after the cut, which is no reason to complain.
	r := newRun(t, map[string][]string{
		"s1": {ledger.SpoilTwice, ledger.SpoilMiss}, "s2": {ledger.SpoilDrop},
		"c1": {spoilLate, spoilTold, spoilTold, spoilTold}, "c2": {spoilWrong, spoilUntrue},
	})
	testbed.Pause(t.Context(), queueTime+time.Second) // in peace
	r.make(faultCutClient, func(f *fault) { r.cut(f, r.clients[0]) })
	r.make(faultRefuse, func(f *fault) { r.refuse(f, r.clients[1]) })
	testbed.Must(t, os.WriteFile(filepath.Join(ledger.Runtime(r.dir), "leave"), nil, 0o600))
	rep := r.end()
	for what, n := range map[string]struct{ found, made int }{
		"lost": {rep.lost, 1}, "run twice": {rep.twice, 1}, "hung": {rep.hung, 1}, "without a code": {rep.uncoded, 1}, "untrue": {rep.untrue, 1},
		"told late": {min(rep.told, 1), 1}, "missed": {rep.missed, 1}, "failed in peace": {rep.peace, 2}, "slow": {rep.slow, 1}, "left": {len(r.left), 1},
	} {
		if n.found != n.made {
			t.Errorf("%s: %d were found, %d made", what, n.found, n.made)
		}
	}
	if n, want := len(rep.Broken), 10+rep.told; n != want {
		t.Errorf("%d promises were broken, want %d", n, want)
	}
	if t.Failed() {
		t.Logf("\n%s", rep)
	}
}

// SPDX-License-Identifier: Apache-2.0

package functional

import (
	"slices"
	"testing"
	"time"

	"github.com/parleymq/parley/messaging"
)

// TestReplyWakesItsCaller tells waking from polling: upstream's client looked for replies every
// half second from 14.8.0 to 18.1.0. The bound is generous, for a machine that does other things.
func TestReplyWakesItsCaller(t *testing.T) {
	const calls, bound = 50, 100 * time.Millisecond
	onWires(t, func(t *testing.T, w *world) {
		g := startGroup(t, w.open(t, messaging.Options{}), messaging.Target{Topic: "group"})
		var took []time.Duration
		for range calls {
			start := time.Now()
			if _, err := add.Call(soon(t), g.any(), incrementArgs{1}); err != nil {
				t.Fatal(err)
			}
			took = append(took, time.Since(start))
		}
		slices.Sort(took)
		t.Logf("median %v, longest %v", took[calls/2], took[calls-1])
		if took[calls/2] > bound {
			t.Errorf("the median of %d calls is %v", calls, took[calls/2])
		}
	})
}

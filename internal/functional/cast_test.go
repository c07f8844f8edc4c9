// SPDX-License-Identifier: Apache-2.0

package functional

import (
	"testing"

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

// The cases of CastTestCase in oslo_messaging/tests/functional/test_functional.py. Servers run
// casts side by side, so that two of them may change places.

// castFour casts what makes 12 and "openstack", or "stackopen".
func castFour(t *testing.T, c *messaging.RPCClient) {
	t.Helper()
	for _, text := range []string{"open", "stack"} {
		if err := appendText.Cast(soon(t), c, textArgs{text}); err != nil {
			t.Fatal(err)
		}
	}
	for _, by := range []int{2, 10} {
		if err := add.Cast(soon(t), c, incrementArgs{by}); err != nil {
			t.Fatal(err)
		}
	}
}

func (a *account) hasFour() bool {
	sum, text := a.state()
	return sum == 12 && (text == "openstack" || text == "stackopen")
}

func TestCastSpecificServer(t *testing.T) {
	onWires(t, func(t *testing.T, w *world) {
		g := startGroup(t, w.open(t, messaging.Options{}), messaging.Target{Topic: "group"})
		castFour(t, g.one(1))
		testbed.Eventually(t, patience, "the four casts", g.accounts[1].hasFour)
		g.settled(t)
		g.untouched(t, 1)
	})
}

func TestCastServerInGroup(t *testing.T) {
	onWires(t, func(t *testing.T, w *world) {
		g := startGroup(t, w.open(t, messaging.Options{}), messaging.Target{Topic: "group"})
		const casts = 20
		for range casts {
			if err := add.Cast(soon(t), g.any(), incrementArgs{1}); err != nil {
				t.Fatal(err)
			}
		}
		total := func() (sum int) {
			for _, a := range g.accounts {
				own, _ := a.state()
				sum += own
			}
			return sum
		}
		testbed.Eventually(t, patience, "the twenty casts", func() bool { return total() >= casts })
		g.settled(t)
		if got := total(); got != casts {
			t.Errorf("%d casts were run", got)
		}
		for _, a := range g.accounts {
			sum, _ := a.state()
			if uneven := w.wire != nil && w.wire.Uneven; !uneven && (sum == 0 || sum == casts) {
				t.Errorf("%s has run %d of them", a.name, sum)
			}
		}
	})
}

func TestCastFanout(t *testing.T) {
	onWires(t, func(t *testing.T, w *world) {
		g := startGroup(t, w.open(t, messaging.Options{}), messaging.Target{Topic: "group"})
		castFour(t, g.any().With(messaging.Fanout()))
		for _, a := range g.accounts {
			testbed.Eventually(t, patience, "the four casts at "+a.name, a.hasFour)
		}
		g.settled(t)
		for _, a := range g.accounts {
			if !a.hasFour() {
				sum, text := a.state()
				t.Errorf("%s has %d and %q after a while", a.name, sum, text)
			}
		}
	})
}

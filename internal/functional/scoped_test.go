// SPDX-License-Identifier: Apache-2.0

package functional

import (
	"testing"

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/plugin/driver"
)

// TestFanoutStaysInItsExchange: a scoped fanout to one topic reaches the servers of its exchange
// alone, and only those that are scoped too. What an unscoped one does is a case of
// TestMultipleServers.
func TestFanoutStaysInItsExchange(t *testing.T) {
	onWires(t, func(t *testing.T, w *world) {
		plain := w.open(t, messaging.Options{})
		scoped := plain // where every fanout is scoped, there is nothing to ask for
		if w.wire == nil || w.wire.Has(driver.CapScopedFanout) {
			scoped = w.open(t, messaging.Options{ScopedFanout: true})
		}
		heard := make(map[string]*pings)
		for name, at := range map[string]struct {
			tr       *messaging.Transport
			exchange string
		}{"a": {scoped, "a"}, "b": {scoped, "b"}, "plain": {plain, "a"}} {
			heard[name] = &pings{}
			serve(t, at.tr, messaging.Target{Exchange: at.exchange, Topic: "t", Server: name}, nil, heard[name].endpoint())
		}
		fanout := func(tr *messaging.Transport, exchange, arg string) {
			c := client(tr, messaging.Target{Exchange: exchange, Topic: "t", Fanout: true})
			if err := c.Cast(soon(t), "ping", map[string]any{"arg": arg}); err != nil {
				t.Fatal(err)
			}
		}
		wanted := map[string]string{"a": "1", "b": "2", "plain": "3"}
		if scoped == plain { // both are servers of the same exchange
			wanted["a"], wanted["plain"] = "1 3", "1 3"
		}
		fanout(scoped, "a", "1")
		fanout(scoped, "b", "2")
		fanout(plain, "a", "3")
		for name, want := range wanted {
			testbed.Eventually(t, patience, name+" hears "+want, func() bool { return heard[name].sorted() == want })
		}
		for name, p := range heard {
			exchange := "a"
			if name == "b" {
				exchange = "b"
			}
			if err := client(plain, messaging.Target{Exchange: exchange, Topic: "t", Server: name}).Call(soon(t), "alive", nil, nil); err != nil {
				t.Error(err)
			}
			if want := wanted[name]; p.sorted() != want {
				t.Errorf("%s heard %q, want %q", name, p.sorted(), want)
			}
		}
		// Who names an exchange seems to count on it, and is warned where it does not hold.
		want := 0
		if plain.Info().Has(driver.CapUnscopedFanout) {
			want = 1
		}
		fanout(plain, "a", "4")
		if lines := w.logs.Lines("level=WARN", "fanout is not scoped by exchange"); len(lines) != want {
			t.Errorf("%d warnings, want %d: %q", len(lines), want, lines)
		}
	})
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

func TestExpiration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"": 0, "60000": time.Minute, "1": time.Millisecond, "0": 1,
		"-1": 0, "1.5": 0, "1e3": 0, "+1": 0, "soon": 0, "999999999999": 999999999999 * time.Millisecond,
		"1000000000000": 0, "99999999999999999999": 0,
	} {
		if got := expiration(text); got != want {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	}
}

// TestScopedNames: the names of fanouts differ when what they stand for does, and fit.
func TestScopedNames(t *testing.T) {
	s := testSettings(t, nil, nil)
	seen := make(map[string]driver.Target)
	for _, exchange := range []string{"a", "a.b", "a.b_fanout", "", "9", "a.b_fanout_scoped_1"} {
		for _, topic := range []string{"b", "a.b", "b.c", "c", "b_fanout", "b_fanout_scoped_1", "c_fanout_scoped_3", "a.b_fanout_scoped_1"} {
			for _, target := range []driver.Target{{Exchange: exchange, Topic: topic, Scoped: true}, {Topic: topic}} {
				name := s.fanoutExchange(target).name
				if other, ok := seen[name]; ok && other != target {
					t.Errorf("%+v and %+v are both %q", other, target, name)
				}
				seen[name] = target
			}
		}
	}
	longest := driver.Target{Exchange: strings.Repeat("e", 100), Topic: strings.Repeat("t", 100), Scoped: true}
	top := s.serverTopology(longest, strings.Repeat("0", 32))
	if n := len(top.private); n > maxShortString {
		t.Errorf("the name of the fanout queue has %d bytes", n)
	}
}

// SPDX-License-Identifier: Apache-2.0

package sieve

import "testing"

func BenchmarkScan(b *testing.B) {
	raw := plain(b)
	var s scan
	b.ReportAllocs()
	for b.Loop() {
		s.reset()
		if why := s.feed(raw, true); why != "" {
			b.Fatal(why)
		}
	}
}

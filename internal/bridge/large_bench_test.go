// SPDX-License-Identifier: Apache-2.0

package bridge_test

import (
	"testing"

	"github.com/parleymq/parley/internal/bridge"
	"github.com/parleymq/parley/internal/memory"
	"github.com/parleymq/parley/plugin/driver"
)

// BenchmarkLarge sends a message of 1 or 12 MiB there and back.
func BenchmarkLarge(b *testing.B) {
	for name, size := range map[string]int{"1MiB": 1 << 20, "12MiB": 12 << 20} {
		b.Run(name, func(b *testing.B) {
			c := newPair(b, memory.New(), bridge.Limits{}).open(b, "v")
			target := driver.Target{Exchange: "e", Topic: "t", Server: "s"}
			l, err := c.Listen(within(b), driver.Source{Kind: driver.SourceServer, Settle: driver.SettleOnPoll, Target: target})
			if err != nil {
				b.Fatal(err)
			}
			m := castTo("t", "x", make([]byte, size))
			b.SetBytes(int64(size))
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				if err := c.Send(b.Context(), []*driver.Message{m}); err != nil {
					b.Fatal(err)
				}
				if _, err := l.Poll(b.Context(), 1); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			if err := l.Close(within(b)); err != nil {
				b.Error(err)
			}
		})
	}
}

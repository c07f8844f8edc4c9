// SPDX-License-Identifier: Apache-2.0

package bridge_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/parleymq/parley/internal/bridge"
	"github.com/parleymq/parley/internal/memory"
	"github.com/parleymq/parley/plugin/driver"
)

// BenchmarkThrough sends a message of 1 KiB through the bridge into the memory driver and back
// out of a listener: two crossings of the boundary.
func BenchmarkThrough(b *testing.B) {
	for _, inFlight := range []int{1, 16, 128} {
		b.Run(fmt.Sprintf("inflight=%d", inFlight), func(b *testing.B) { benchmarkThrough(b, inFlight) })
	}
}

func benchmarkThrough(b *testing.B, inFlight int) {
	p := newPair(b, memory.New(), bridge.Limits{})
	conn := p.open(b, "bench")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	target := driver.Target{Exchange: "openstack", Topic: "t", Server: "s"}
	l, err := conn.Listen(ctx, driver.Source{Kind: driver.SourceServer, Settle: driver.SettleOnPoll, Target: target})
	if err != nil {
		b.Fatal(err)
	}
	slots := make(chan struct{}, inFlight)
	var receiver sync.WaitGroup
	receiver.Go(func() {
		for {
			ds, err := l.Poll(ctx, 256)
			if err != nil {
				return
			}
			for range ds {
				<-slots
			}
		}
	})
	body := make([]byte, 1024)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		slots <- struct{}{}
		m := &driver.Message{Kind: driver.Cast, Target: driver.Target{Exchange: "openstack", Topic: "t"}, UniqueID: "0123456789abcdef0123456789abcdef", Body: body}
		conn.SendAsync(context.Background(), []*driver.Message{m}, func(_ int, err error) {
			if err != nil {
				b.Error(err)
			}
		})
	}
	for range inFlight {
		slots <- struct{}{}
	}
	b.StopTimer()
	cancel()
	receiver.Wait()
	if err := l.Close(context.Background()); err != nil {
		b.Error(err)
	}
}

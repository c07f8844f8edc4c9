// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// TestSpoolUnderLoad: many goroutines notify while the broker comes and goes: all arrives, each
// goroutine's in order but for what was in doubt, and in the end nothing goes by the disk any more.
func TestSpoolUnderLoad(t *testing.T) {
	for _, forget := range []bool{false, true} {
		t.Run(fmt.Sprintf("forget %v", forget), func(t *testing.T) {
			const workers, each = 8, 400
			var up atomic.Bool
			up.Store(true)
			q := newQueued(t, func(*driver.Message) error { return nil })
			var mu sync.Mutex // guards arrived
			arrived := map[string][]string{}
			q.let = func(m *driver.Message) error {
				if !up.Load() {
					return away(*m)
				}
				mu.Lock()
				defer mu.Unlock()
				worker, number, _ := strings.Cut(eventOf(m), " ")
				arrived[worker] = append(arrived[worker], number)
				return nil
			}
			var replay sync.RWMutex // held to replay, and by the broker to come or go
			tr := NewTransport(wholeBatches{q, &replay}, nil)
			s, err := OpenSpool(tr, &SpoolOptions{Dir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			var failed atomic.Int64
			n := NewNotifier(tr, &NotifierOptions{Spool: s, Timeout: patience, OnResult: func(_ *Notification, err error) {
				if err != nil {
					failed.Add(1)
				}
			}})
			stop, switched := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(switched)
				tick := time.NewTicker(15 * time.Millisecond)
				defer tick.Stop()
				for {
					select {
					case <-tick.C:
						replay.Lock()
						up.Store(!up.Load())
						replay.Unlock()
						tr.states.report(driver.State{Phase: driver.Ready})
					case <-stop:
						up.Store(true)
						tr.states.report(driver.State{Phase: driver.Ready})
						return
					}
				}
			}()
			var work sync.WaitGroup
			for w := range workers {
				work.Go(func() {
					for i := range each {
						event := fmt.Sprintf("%d %d", w, i)
						if forget {
							n.NotifyAndForget(context.Background(), PriorityInfo, event, nil)
						} else if err := n.Info(context.Background(), event, nil); err != nil {
							failed.Add(1)
						}
					}
				})
			}
			work.Wait()
			close(stop)
			<-switched
			eventually(t, "all is sent", func() bool {
				mu.Lock()
				defer mu.Unlock()
				sum := 0
				for _, numbers := range arrived {
					sum += len(numbers)
				}
				return sum >= workers*each && s.Stats().Waiting == 0
			})
			t.Logf("%+v", s.Stats())
			closeSpool(t, s)
			closeTransport(t, tr)
			if failed.Load() > 0 {
				t.Errorf("%d failed", failed.Load())
			}
			disorder := 0
			for w := range workers {
				got := arrived[strconv.Itoa(w)]
				if len(got) != each {
					t.Errorf("worker %d: %d arrived", w, len(got))
				}
				if !slices.Equal(got, numbered(0, each)) {
					disorder++
				}
			}
			// Notify waits for each, so that nothing may overtake. What is pipelined may, where the
			// broker came back in the middle of it.
			if !forget && disorder > 0 {
				t.Errorf("%d workers' are out of order", disorder)
			}
			t.Logf("%d of %d workers' are out of order", disorder, workers)
		})
	}
}

// wholeBatches is a conn whose broker neither comes nor goes while stored notifications are being sent:
// they go many at a time, and those that a broker takes which is back in the middle overtake the ones
// before them.
type wholeBatches struct {
	*queued
	replay *sync.RWMutex
}

func (w wholeBatches) Send(ctx context.Context, batch []*driver.Message) error {
	w.replay.RLock()
	defer w.replay.RUnlock()
	return w.queued.Send(ctx, batch)
}

// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/parleymq/parley/messaging/internal/host"
	"github.com/parleymq/parley/messaging/internal/hosttest"
	"github.com/parleymq/parley/plugin/driver"
)

// A notification that was on its way when a process died is sent again; a cast in doubt is not.
func TestWhatIsSentAgain(t *testing.T) {
	s := newShop(t)
	s.putFake("fake")
	h, _ := newShopHost(t, s, nil)
	c := openFake(t, h)
	target := driver.Target{Exchange: "openstack", Topic: "t"}
	kinds := map[driver.Kind]func(id string) *driver.Message{
		driver.Cast: cast,
		driver.Notification: func(id string) *driver.Message {
			return &driver.Message{
				Kind: driver.Notification, Target: target, Priority: "info", Format: driver.NotificationV2,
				UniqueID: id, Body: []byte(`{"event_type":"e","payload":{}}`),
			}
		},
	}
	var (
		mu      sync.Mutex
		inDoubt = make(map[driver.Kind]int)
		failed  = make(map[driver.Kind]error)
		sent    = make(map[driver.Kind]int)
	)
	note := func(k driver.Kind, err error) {
		mu.Lock()
		defer mu.Unlock()
		sent[k]++
		switch {
		case err == nil:
		case driver.AsError(err).InDoubt:
			inDoubt[k]++
		default:
			failed[k] = err
		}
	}
	ctx := within(t, 60*time.Second)
	stop := make(chan struct{})
	var senders sync.WaitGroup
	for kind, message := range kinds {
		for n := range 16 {
			senders.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					note(kind, c.Send(ctx, []*driver.Message{message(fmt.Sprintf("%d-%d", n, i))}))
				}
			})
		}
	}
	doubts := func() int {
		mu.Lock()
		defer mu.Unlock()
		return inDoubt[driver.Cast]
	}
	kills := 0
	for ; kills < 50 && (kills < 5 || doubts() == 0); kills++ {
		hosttest.Eventually(t, "the driver is ready", func() bool { return only(t, h).Phase == host.Ready })
		if err := h.SignalForTest("fake", syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		hosttest.Eventually(t, "it is gone", func() bool { return only(t, h).Lives > kills+1 })
	}
	close(stop)
	senders.Wait()
	t.Logf("%d kills: sent %v, in doubt %v", kills, sent, inDoubt)
	if inDoubt[driver.Notification] > 0 || len(failed) > 0 {
		t.Errorf("in doubt %v, failed %v", inDoubt, failed)
	}
	if inDoubt[driver.Cast] == 0 {
		t.Error("no kill hit a message on its way: nothing is proven")
	}
}

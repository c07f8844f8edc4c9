// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"os"
	"sync"
	"testing"

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

// times is how often a fault is made on a wire: what is the library's has been tried on the first
// one, and a third of it is enough for what is the driver's.
func times(w *testbed.Wire, n int) int {
	if w.First {
		return n
	}
	return max(2, n/3)
}

// mustLeavePlace checks what is left where applications met, when all of them have ended.
func mustLeavePlace(t *testing.T, place *testbed.Place, killed int) {
	t.Helper()
	switch {
	case place.Broker != nil:
		mustLeaveQueues(t, place.Broker, place.Vhost)
	case place.Directory != "":
		mustLeaveDirectory(t, place.Directory, killed)
	default:
		mustLeaveTopic(t, place.URL)
		t.Log("NOT PROVEN: which queues the broker keeps, those of replies and fanouts above all: it has no interface to ask")
	}
}

// mustLeaveDirectory checks where nodes find each other. A driver that was killed may leave its
// record until that is too old.
func mustLeaveDirectory(t *testing.T, dir string, killed int) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	names := make([]string, len(files))
	for i, f := range files {
		names[i] = f.Name()
	}
	t.Logf("%d files are left of %d drivers that were killed", len(names), killed)
	if len(names) > killed {
		t.Errorf("left behind: %v", names)
	}
}

// mustLeaveTopic calls where nobody can look at the queues. They are in order: who serves the topic
// and answers later calls has been given everything that was left before them. A consumer that is
// left would take its share of the calls and answer none.
func mustLeaveTopic(t *testing.T, url string) {
	t.Helper()
	serving, _ := bed.Open(t, url)
	calling, _ := bed.Open(t, url)
	l := newLedger()
	serveDo(t, serving, l)
	for _, server := range []string{"", "s1"} { // the queue of all servers, and that of the one
		c := messaging.NewRPCClient(calling, messaging.Target{Topic: topic, Server: server}, &messaging.RPCClientOptions{Timeout: patience})
		var wg sync.WaitGroup
		for i := range 4 * callers {
			wg.Go(func() {
				n := -1 - i // which no application has
				if got, err := do.Call(t.Context(), c, doArgs{n}); err != nil || got != n {
					t.Errorf("a call when all have ended: %d, %v", got, err)
				}
			})
		}
		wg.Wait()
	}
	if left := l.leftovers(); len(left) > 0 {
		t.Errorf("%d requests were left, such as %v", len(left), left[:min(len(left), 10)])
	}
}

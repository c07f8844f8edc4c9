// SPDX-License-Identifier: Apache-2.0

package notifyfaults

import (
	"context"
	"sync"
	"time"

	"github.com/parleymq/parley/internal/ledger"
	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

const (
	roleNotifier = "notifier"
	roleListener = "listener"
	topic        = "ledger"
	deadTopic    = "ledger-dead"
	eventType    = "ledger.numbered"
	// notifyTimeout is that of all notifications, longer than any fault.
	notifyTimeout = 3 * time.Minute
	// startTimeout is long for what is to succeed on a busy machine, endTimeout bounds the end of an
	// application.
	startTimeout = time.Minute
	endTimeout   = 20 * time.Second
)

// The breaks of a promise that an application makes on purpose, once, to prove that it is found.
const (
	sabotageLose  = "lose"  // a listener does not note a notification
	sabotageTwice = "twice" // a listener notes one twice
	sabotageSwap  = "swap"  // a listener notes one after the next of the same publisher
	sabotageFail  = "fail"  // a notifier notes one as failed that is to succeed
	sabotageStray = "stray" // a listener notes one that nobody sent
)

// settings are what an application is told.
type settings struct {
	ledger.Settings
	Sabotage string
	Notifies notifierSettings
	Listens  listenerSettings
}

// application is what both roles have.
type application struct {
	*ledger.Application
	settings
	entries entryFile
}

// actAsApp is an application until it is told to stop.
func actAsApp(s settings, orders *testbed.Orders) error {
	limits := ledger.Limits{Ready: startTimeout, End: endTimeout}
	// Drivers are killed more often than a breaker would bear with.
	supervision := messaging.Supervision{BreakerFailures: -1}
	return ledger.Act(s.Settings, orders, limits, supervision, func(ctx context.Context, shared *ledger.Application) error {
		a := &application{Application: shared, settings: s, entries: entryFile{file: shared.Ledger}}
		if s.Role == roleListener {
			return a.listen(ctx)
		}
		return a.notify()
	})
}

// entryFile is a ledger of entries that is being written.
type entryFile struct {
	file *ledger.File

	mu   sync.Mutex
	text []byte // guarded by mu
}

// write appends an entry at once.
func (f *entryFile) write(e entry) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.text = e.append(f.text[:0])
	f.file.Append(f.text)
}

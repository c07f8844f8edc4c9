// SPDX-License-Identifier: Apache-2.0

package notifyfaults

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/parleymq/parley/internal/testbed"
)

// The faults.
const (
	faultNotifierDriver = "kill a notifier's driver"
	faultListenerDriver = "kill a listener's driver"
	faultCut            = "cut connections"
	faultBrokerKill     = "kill the broker"
	faultBrokerStop     = "stop the broker"
	faultLeave          = "a listener leaves, another comes"
	faultListenerApp    = "kill a listener, another comes"
	faultNotifierApp    = "kill a notifier, another comes"
)

// fault is one that was made.
type fault struct {
	kind, note string
	at, until  time.Time
}

// shortFaults are those of a short run, longFaults those of a long one, over and over.
func shortFaults() []string {
	return []string{
		faultNotifierDriver, faultListenerDriver, faultCut, faultLeave, faultBrokerKill, faultListenerApp, faultNotifierApp,
	}
}

func longFaults() []string {
	return []string{
		faultNotifierDriver, faultListenerDriver, faultCut, faultLeave, faultBrokerKill, faultListenerApp, faultNotifierApp,
		faultNotifierDriver, faultListenerDriver, faultCut, faultLeave, faultListenerDriver, faultBrokerStop, faultListenerApp,
	}
}

// make makes a fault.
func (f *field) make(kind string) {
	f.t.Helper()
	one := &fault{kind: kind, at: time.Now()}
	f.faults = append(f.faults, one)
	switch kind {
	case faultNotifierDriver:
		f.killDriver(one, f.notifiers)
	case faultListenerDriver:
		f.killDriver(one, f.listeners)
	case faultCut:
		one.note = fmt.Sprint(f.proxy.CutAll(), " connections")
	case faultBrokerKill:
		testbed.Must(f.t, f.broker.Kill())
		testbed.Must(f.t, f.broker.Restart(f.t.Context()))
	case faultBrokerStop:
		testbed.Must(f.t, f.broker.Restart(f.t.Context()))
	case faultLeave:
		f.replace(one, f.listeners, mayCome, func(a *app) error { return a.stop(endTimeout) })
	case faultListenerApp:
		f.replace(one, f.listeners, mayCome, killWithDriver)
	case faultNotifierApp:
		f.replace(one, f.notifiers, func(*app) bool { return true }, killWithDriver)
	}
	one.until = time.Now()
	f.t.Logf("%s %s: %v", one.kind, one.note, one.until.Sub(one.at).Round(time.Millisecond))
}

func killWithDriver(a *app) error { return a.KillWithDriver() }

// killDriver kills the driver of one of the applications.
func (f *field) killDriver(one *fault, apps []*app) {
	f.t.Helper()
	victim := apps[f.turn%len(apps)]
	f.turn++
	pid, err := victim.SignalDriver(syscall.SIGKILL)
	testbed.Must(f.t, err)
	one.note = fmt.Sprintf("of %s, process %d", victim.id, pid)
}

// mayCome says that a listener may leave and another of its kind come: no order is promised for all
// of them together.
func mayCome(a *app) bool { return !a.Listens.alone() }

// replace ends one of the applications that may, and starts another of its kind.
func (f *field) replace(one *fault, apps []*app, may func(*app) bool, end func(*app) error) {
	f.t.Helper()
	i := rand.N(len(apps))
	for !may(apps[i]) {
		i = (i + 1) % len(apps)
	}
	victim := apps[i]
	one.note = victim.id
	testbed.Must(f.t, end(victim))
	s := victim.settings
	s.Sabotage = ""
	if s.Role == roleNotifier {
		s.Notifies.First += incarnation
	}
	apps[i] = f.start(s, victim.proxied)
	f.await(apps[i])
}

// SPDX-License-Identifier: Apache-2.0

package qpidfaults

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/ledger"
	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/internal/testbed"
)

const (
	servers = 2
	clients = 2
	// idleTimeout is when a silent broker is given up, pauseTime how long it is paused.
	idleTimeout = 4 * time.Second
	pauseTime   = 6 * time.Second
	// breath is between two faults, and longer than what is left of one is felt.
	breath = 500 * time.Millisecond
	// healLimit bounds the wait for everything to go through again.
	healLimit = time.Minute
	// recoverPromise is within how long calls go through again. What a run of seconds on a machine
	// that does other things is held to is recoverPatience.
	recoverPromise, recoverPatience = 5 * time.Second, 30 * time.Second
)

// run is the applications and what was done to them.
type run struct {
	t        *testing.T
	dir      string // of everything, short for sockets
	broker   *peertest.BrokerJ
	spoils   map[string][]string // by the name of an application
	patience time.Duration       // with the recovery from a fault
	started  time.Time           // of the clients

	servers []*app
	clients []*app
	faults  []*fault
	problem []string // what broke besides the ledger
	left    []string
	again   uint64 // requests that servers were given again and did not run
}

// newRun starts the broker, servers and clients, and returns when everything goes through.
func newRun(t *testing.T, spoils map[string][]string) *run {
	t.Helper()
	r := &run{t: t, dir: plan().Dir(t, spoils != nil), spoils: spoils, patience: recoverPatience}
	if plan().IsLong() {
		r.patience = recoverPromise
	}
	r.broker = peertest.RunBrokerJ(t, nil)
	for i := range servers {
		r.servers = append(r.servers, r.start(roleServer, "s"+strconv.Itoa(i+1), ""))
	}
	r.started = time.Now()
	for i := range clients {
		option := ""
		if i > 0 {
			option = "&reliable_casts=true"
		}
		r.clients = append(r.clients, r.start(roleClient, "c"+strconv.Itoa(i+1), option))
	}
	r.mustHeal("the start", r.started)
	return r
}

func (r *run) start(role, name, option string) *app {
	p := peertest.RunTCPProxy(r.t, r.broker.Addr())
	s := settings{Spoils: r.spoils[name], Settings: ledger.Settings{
		Role: role, Name: name, Drivers: bed.Drivers, Runtime: ledger.Runtime(r.dir),
		URL:    r.broker.URLAt(p.Addr(), "ledger") + fmt.Sprintf("?idle_timeout=%v", idleTimeout.Seconds()) + option,
		Ledger: filepath.Join(r.dir, name+".ledger"), Log: filepath.Join(r.dir, name+".log"),
	}}
	if role == roleClient {
		for _, server := range r.servers {
			s.Servers = append(s.Servers, server.Name)
		}
	}
	return start(r.t, s, p)
}

// isReliable reports whether the casts of an application are.
func isReliable(name string) bool { return name == "c2" }

// disturb makes all faults, in another order each time.
func (r *run) disturb() {
	r.t.Helper()
	ledger.Disturb(r.t, plan(), r.all(), func(f ledger.Fault[fault]) { r.make(f.Kind, f.Do) })
}

// make makes a fault while calls are in flight, and waits until everything goes through again.
func (r *run) make(kind string, do func(*fault)) {
	r.t.Helper()
	r.mustFly()
	f := &fault{kind: kind, limit: r.patience, at: time.Now()}
	r.faults = append(r.faults, f)
	do(f)
	if f.hit.IsZero() {
		f.hit = time.Now()
	}
	if f.back.IsZero() {
		f.back = f.hit
	}
	r.mustHeal(kind, f.back)
	f.until = time.Now()
	r.t.Logf("%s: made in %v, all went through again after %v", f, ledger.Round(f.back.Sub(f.at)), ledger.Round(f.until.Sub(f.back)))
	testbed.Pause(r.t.Context(), breath+rand.N(breath))
}

// mustFly waits until calls of all clients are in flight.
func (r *run) mustFly() {
	r.t.Helper()
	for _, c := range r.clients {
		testbed.Eventually(r.t, healLimit, "calls are in flight", func() bool {
			var n int64
			testbed.Must(r.t, c.Do("flight", nil, &n))
			return n >= 3
		})
	}
}

// mustHeal waits until requests of all kinds that began after at came through, from every client to
// every server.
func (r *run) mustHeal(what string, at time.Time) {
	r.t.Helper()
	var missing []string
	healed := func() bool { missing = r.missing(at); return len(missing) == 0 }
	if !testbed.Wait(healLimit, healed) {
		r.problem = append(r.problem, fmt.Sprintf("%v after %s nothing came through of: %s", healLimit, what, strings.Join(missing, ", ")))
	}
}

// missing is what did not come through of what began after at.
func (r *run) missing(at time.Time) (missing []string) {
	after := at.UnixNano()
	cast := make(map[string]bool) // clients of which some server had a cast
	for _, s := range r.servers {
		last := s.last(r.t)
		for _, c := range r.clients {
			if last[ledger.Fanout+" "+c.Name] <= after {
				missing = append(missing, "fanout "+c.Name+" "+s.Name)
			}
			cast[c.Name] = cast[c.Name] || last[ledger.Cast+" "+c.Name] > after
		}
	}
	for _, c := range r.clients {
		if !cast[c.Name] {
			missing = append(missing, "cast "+c.Name)
		}
		last := c.last(r.t)
		for _, to := range append([]string{""}, c.Servers...) {
			if last[ledger.Call+" "+to] <= after {
				missing = append(missing, "call "+c.Name+" "+to)
			}
		}
	}
	return missing
}

// end stops everybody, looks for what is left and judges.
func (r *run) end() *report {
	r.t.Helper()
	for i, a := range slices.Concat(r.clients, r.servers) {
		if i == len(r.clients) {
			r.awaitRun()
		}
		var said ledger.LastWords
		if err := a.Stop(startTimeout, &said); err != nil {
			r.problem = append(r.problem, err.Error())
		}
		r.t.Logf("%s stopped %s", a.Name, said.Stats)
		r.again += said.Duplicates
	}
	own := testbed.Bed{Drivers: bed.Drivers, Runtime: ledger.Runtime(r.dir)}
	testbed.Wait(endTimeout/6, func() bool { r.left = own.LeftOf(r.dir); return len(r.left) == 0 })
	r.lookAtLogs()
	rep, err := r.judge()
	testbed.Must(r.t, err)
	return rep
}

// awaitRun waits until what was accepted is run, or nothing more is.
func (r *run) awaitRun() {
	r.t.Helper()
	var files []string
	for _, s := range r.servers {
		files = append(files, s.Ledger)
	}
	ledger.AwaitQuiet(r.t, healLimit, 2*time.Second, files...)
}

func (r *run) lookAtLogs() {
	r.t.Helper()
	for _, a := range slices.Concat(r.clients, r.servers) {
		for _, bad := range ledger.InLog(r.t, a.Log, a.Printed()) {
			r.problem = append(r.problem, a.Name+": "+bad)
		}
	}
}

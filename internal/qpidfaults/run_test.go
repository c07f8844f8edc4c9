// SPDX-License-Identifier: Apache-2.0

package qpidfaults

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

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
	sabotage map[string][]string // by the name of an application
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
func newRun(t *testing.T, sabotage map[string][]string) *run {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "pq")
	must(t, err)
	r := &run{t: t, dir: dir, sabotage: sabotage, patience: recoverPatience}
	if os.Getenv(timeVariable) != "" {
		r.patience = recoverPromise
	}
	t.Cleanup(func() {
		if (t.Failed() || os.Getenv(onlyVariable) != "") && sabotage == nil {
			t.Logf("logs and ledgers are in %s", dir)
			return
		}
		_ = os.RemoveAll(dir)
	})
	must(t, os.Mkdir(r.runtime(), 0o700))
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

func (r *run) runtime() string { return filepath.Join(r.dir, "run") }

func (r *run) start(role, name, option string) *app {
	p := runProxy(r.t, r.broker.Addr())
	s := settings{
		Role: role, Name: name, Drivers: drivers, Runtime: r.runtime(),
		URL:    r.broker.URLAt(p.addr(), "ledger") + fmt.Sprintf("?idle_timeout=%v", idleTimeout.Seconds()) + option,
		Ledger: filepath.Join(r.dir, name+".ledger"), Log: filepath.Join(r.dir, name+".log"), Sabotage: r.sabotage[name],
	}
	if role == roleClient {
		for _, server := range r.servers {
			s.Servers = append(s.Servers, server.Name)
		}
	}
	return start(r.t, s, p)
}

// isReliable reports whether the casts of an application are.
func isReliable(name string) bool { return name == "c2" }

// planned is a fault that can be made.
type planned struct {
	kind string
	do   func(*fault)
}

// disturb makes all faults, in another order each time.
func (r *run) disturb(faults ...planned) {
	r.t.Helper()
	least, end := 1, time.Now()
	if text := os.Getenv(timeVariable); text != "" {
		d, err := time.ParseDuration(text)
		must(r.t, err)
		least, end = 10, end.Add(d)
	}
	only := regexp.MustCompile(os.Getenv(onlyVariable))
	faults = slices.DeleteFunc(faults, func(p planned) bool { return !only.MatchString(p.kind) })
	for yet := 0; yet < least || time.Now().Before(end); yet++ {
		rand.Shuffle(len(faults), func(i, j int) { faults[i], faults[j] = faults[j], faults[i] })
		for _, p := range faults {
			r.make(p.kind, p.do)
		}
	}
}

// make makes a fault while calls are in flight, and waits until everything goes through again.
func (r *run) make(kind string, do func(*fault)) *fault {
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
	r.t.Logf("%s: made in %v, all went through again after %v", f, round(f.back.Sub(f.at)), round(f.until.Sub(f.back)))
	pause(r.t.Context(), breath+rand.N(breath))
	return f
}

// mustFly waits until calls of all clients are in flight.
func (r *run) mustFly() {
	r.t.Helper()
	for _, c := range r.clients {
		testbed.Eventually(r.t, healLimit, "calls are in flight", func() bool {
			var n int64
			must(r.t, c.Do("flight", nil, &n))
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
			if last[kindFanout+" "+c.Name] <= after {
				missing = append(missing, "fanout "+c.Name+" "+s.Name)
			}
			cast[c.Name] = cast[c.Name] || last[kindCast+" "+c.Name] > after
		}
	}
	for _, c := range r.clients {
		if !cast[c.Name] {
			missing = append(missing, "cast "+c.Name)
		}
		last := c.last(r.t)
		for _, to := range append([]string{""}, c.Servers...) {
			if last[kindCall+" "+to] <= after {
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
		var said lastWords
		if err := a.Stop(startTimeout, &said); err != nil {
			r.problem = append(r.problem, err.Error())
		}
		r.t.Logf("%s stopped %s", a.Name, said.Stats)
		r.again += said.Duplicates
	}
	bed := testbed.Bed{Drivers: drivers, Runtime: r.runtime()}
	testbed.Wait(endTimeout/6, func() bool { r.left = bed.LeftOf(r.dir); return len(r.left) == 0 })
	r.lookAtLogs()
	rep, err := r.judge()
	must(r.t, err)
	return rep
}

// awaitRun waits until what was accepted is run, or nothing more is.
func (r *run) awaitRun() {
	r.t.Helper()
	var sizes []int64
	since := time.Now()
	testbed.Wait(healLimit, func() bool {
		now := make([]int64, len(r.servers))
		for i, s := range r.servers {
			st, err := os.Stat(s.Ledger)
			must(r.t, err)
			now[i] = st.Size()
		}
		if !slices.Equal(now, sizes) {
			sizes, since = now, time.Now()
		}
		return time.Since(since) > 2*time.Second
	})
}

func (r *run) lookAtLogs() {
	for _, a := range slices.Concat(r.clients, r.servers) {
		text, err := os.ReadFile(a.Log)
		must(r.t, err)
		for _, bad := range []string{"DATA RACE", "panic:"} {
			if strings.Contains(string(text), bad) || strings.Contains(a.Printed(), bad) {
				r.problem = append(r.problem, a.Name+": "+bad)
			}
		}
	}
}

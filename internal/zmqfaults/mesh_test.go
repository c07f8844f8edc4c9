// SPDX-License-Identifier: Apache-2.0

package zmqfaults

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/ledger"
	"github.com/parleymq/parley/internal/testbed"
)

const (
	servers = 3
	clients = 2
	// breath is between two faults.
	breath = 200 * time.Millisecond
	// recoverLimit bounds the wait for calls to go through again.
	recoverLimit = 20 * time.Second
)

// mesh is a run: its applications and what was done to them.
type mesh struct {
	t        *testing.T
	dir      string // of everything, short for sockets
	url      func(name string) string
	spoils   map[string]string // by the name of an application
	idle     bool              // clients make requests only when told to
	slots    int               // how many requests a server handles at once
	patience time.Duration     // with casts that were accepted and not run yet
	backoff  time.Duration     // before a driver is started again, 0 for the default
	serial   int

	servers []*app // that run
	clients []*app
	all     []*app
	faults  []*fault
	problem []string // what broke besides the ledger
	left    []string
	// duplicates is how many requests the servers were given that they had run.
	duplicates uint64
}

// fault is something that was done.
type fault struct {
	kind   string
	victim string // the name of an application, or ""
	app    *app   // it, when it is one that lives
	at     time.Time
	since  time.Time // when calls could go through again, if not at once
	until  time.Time // when it was healed, as far as it is ours to heal
	// recovered is how long it took until calls that began after the fault were answered by the
	// victim, or for it; joined is how long after it was ready a new server had its first request.
	// felt is how long after the fault requests to no server in particular began to fail or be slow.
	recovered, joined, felt time.Duration
	joiner                  *app
	note                    string
}

// newMesh starts servers and clients.
func newMesh(t *testing.T, url func(name string) string, spoils map[string]string) *mesh {
	t.Helper()
	return &mesh{t: t, dir: plan().Dir(t, spoils != nil), url: url, spoils: spoils, slots: 16, patience: recoverLimit}
}

// begin starts everybody.
func (m *mesh) begin() {
	m.beginWith(servers, clients)
	for _, s := range m.servers {
		m.mustAnswer(s.Name, time.Now())
	}
}

func (m *mesh) beginWith(servers, clients int) {
	for i := range servers {
		m.servers = append(m.servers, m.start(roleServer, "s"+strconv.Itoa(i+1)))
	}
	m.mustBeReady(m.servers...)
	for i := range clients {
		m.clients = append(m.clients, m.start(roleClient, "c"+strconv.Itoa(i+1)))
	}
	m.mustBeReady(m.clients...)
}

func (m *mesh) start(role, name string) *app {
	m.serial++
	id := name + "." + strconv.Itoa(m.serial)
	s := settings{
		Settings: ledger.Settings{
			Role: role, Name: name, URL: m.url(name), Drivers: bed.Drivers, Runtime: ledger.Runtime(m.dir),
			Ledger: filepath.Join(m.dir, id+".ledger"), Log: filepath.Join(m.dir, id+".log"),
		},
		Spoils: m.spoils[name], Idle: m.idle, Concurrency: m.slots, Backoff: m.backoff,
	}
	if role == roleClient {
		for i := range servers {
			s.Servers = append(s.Servers, "s"+strconv.Itoa(i+1))
		}
	}
	a := start(m.t, s, id, ledger.Runtime(m.dir))
	m.all = append(m.all, a)
	return a
}

func (m *mesh) mustBeReady(apps ...*app) {
	m.t.Helper()
	for _, a := range apps {
		if err := a.Await(startTimeout); err != nil {
			m.t.Fatal(err)
		}
		a.ready = time.Now()
	}
}

// answered reports whether every client had an answer from a server, or any for "", to a call that
// began after at.
func (m *mesh) answered(server string, at time.Time) bool {
	for _, c := range m.clients {
		last, err := ledger.Last(c.App)
		testbed.Must(m.t, err)
		if last[ledger.Call+" "+server] <= at.UnixNano() {
			return false
		}
	}
	return true
}

func (m *mesh) mustAnswer(server string, at time.Time) {
	m.t.Helper()
	if !testbed.Wait(recoverLimit, func() bool { return m.answered(server, at) }) {
		m.problem = append(m.problem, fmt.Sprintf("no answers from server %q after %v", server, recoverLimit))
	}
}

// make makes a fault, and waits until calls go through again.
func (m *mesh) make(kind string, do func(*fault)) {
	m.t.Helper()
	f := &fault{kind: kind, at: time.Now()}
	m.faults = append(m.faults, f)
	do(f)
	f.until = time.Now()
	for _, s := range m.servers {
		m.mustAnswer(s.Name, f.at)
	}
	m.mustAnswer("", f.at)
	m.calm()
}

// calm lets a moment pass in which nothing happens.
func (m *mesh) calm() { testbed.Pause(m.t.Context(), breath+rand.N(breath)) }

// any is one of the servers.
func (m *mesh) any() *app { return m.servers[rand.N(len(m.servers))] }

// replace starts another server in the place of one.
func (m *mesh) replace(f *fault, old *app) {
	a := m.start(roleServer, old.Name)
	m.mustBeReady(a)
	m.servers[slices.Index(m.servers, old)] = a
	f.joiner = a
}

// end stops everybody, looks for what is left and judges.
func (m *mesh) end() *report {
	m.t.Helper()
	for i, a := range slices.Concat(m.clients, m.servers) {
		if i == len(m.clients) {
			m.awaitRun()
		}
		said, err := a.stop()
		if err != nil {
			m.problem = append(m.problem, err.Error())
		}
		m.t.Logf("%s stopped %s", a.id, said.Stats)
		m.duplicates += said.Duplicates
	}
	m.lookForLeft()
	m.lookAtLogs()
	r, err := m.judge()
	testbed.Must(m.t, err)
	return r
}

// awaitRun waits until accepted casts are run, unless they are lost.
func (m *mesh) awaitRun() {
	testbed.Wait(m.patience, func() bool {
		requests, err := m.collect()
		testbed.Must(m.t, err)
		for _, r := range requests {
			if r.Unrun() && !m.withApp(r) {
				return false
			}
		}
		return true
	})
	for _, s := range m.servers {
		m.awaitQuiet(s)
	}
}

// awaitQuiet waits until the server has written nothing for a moment: casts that were accepted are
// run.
func (m *mesh) awaitQuiet(a *app) {
	m.t.Helper()
	ledger.AwaitQuiet(m.t, recoverLimit, 500*time.Millisecond, a.Ledger)
}

// lookForLeft finds processes, sockets and files. The sockets of drivers that were killed are
// removed by the next node that starts some time later.
func (m *mesh) lookForLeft() {
	m.ageSockets()
	a := m.start(roleServer, "last")
	m.mustBeReady(a)
	if _, err := a.stop(); err != nil {
		m.problem = append(m.problem, err.Error())
	}
	testbed.Wait(5*time.Second, func() bool { m.left = m.look(); return len(m.left) == 0 })
}

func (m *mesh) look() []string {
	own := testbed.Bed{Drivers: bed.Drivers, Runtime: ledger.Runtime(m.dir)}
	return append(own.LeftOf(m.dir), m.meetingPlace()...)
}

// meetingPlace are the files in the directory of nodes.
func (m *mesh) meetingPlace() []string {
	files, _ := filepath.Glob(filepath.Join(m.dir, "mesh", "*"))
	hidden, _ := filepath.Glob(filepath.Join(m.dir, "mesh", ".*"))
	return append(files, hidden...)
}

// ageSockets makes the sockets that nobody listens to any more so old that the next node removes
// them.
func (m *mesh) ageSockets() {
	old := time.Now().Add(-time.Hour)
	for _, path := range m.look() {
		if testbed.IsNodeSocket(path) {
			_ = os.Chtimes(path, old, old) // it may be gone
		}
	}
}

func (m *mesh) lookAtLogs() {
	m.t.Helper()
	for _, a := range m.all {
		for _, bad := range ledger.InLog(m.t, a.Log, a.Printed()) {
			m.problem = append(m.problem, a.id+": "+bad)
		}
	}
}

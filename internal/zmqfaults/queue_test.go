// SPDX-License-Identifier: Apache-2.0

package zmqfaults

import (
	"context"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/internal/testbed"
)

const (
	// burst is how many casts one client sends at a time: more than all servers handle at once.
	burst = 300
	// longStop is longer than peers wait for a driver that hangs.
	longStop = 8 * time.Second
	// queueSlots is how many casts a server handles at once, mostTwice how many it has or has just
	// done when something happens, at most.
	queueSlots, mostTwice = 4, 8 * queueSlots
)

// TestQueues lets many casts wait in the driver of a server when it happens: none is lost or run
// twice. Whoever is killed here, the application of the server lives.
func TestQueues(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		kind    string
		servers int
		do      func(m *mesh, f *fault)
	}{
		{faultKillServerDriver, 1, func(m *mesh, f *fault) { m.killDriver(f, m.servers[0]) }},
		{faultKillClientDriver, 1, func(m *mesh, f *fault) { m.killDriver(f, m.clients[0]) }},
		{faultReload, 1, func(m *mesh, f *fault) { m.swap(f, m.servers[0]) }},
		{faultShutdown, 2, func(m *mesh, f *fault) { m.shutdown(f) }},
		{faultLeave, 1, (*mesh).leave},
		{"stop a server's driver for long", 1, func(m *mesh, f *fault) { m.stopLong(f, m.servers[0]) }},
		{"stop a client's driver for long", 1, func(m *mesh, f *fault) { m.stopLong(f, m.clients[0]) }},
	} {
		t.Run(tc.kind, func(t *testing.T) {
			t.Parallel()
			var m *mesh
			m = newMesh(t, dirURL(&m), nil)
			if tc.kind == faultLeave {
				m.backoff = 700 * time.Millisecond
			}
			m.queued(tc.kind, tc.servers, func(f *fault) { tc.do(m, f) })
		})
	}
}

// TestQueueWithoutDiscovery is the same while Redis is away for longer than a restarted driver is
// waited for.
func TestQueueWithoutDiscovery(t *testing.T) {
	t.Parallel()
	redis := peertest.RunRedis(t, nil)
	m := newMesh(t, redisURL(redis), nil)
	m.queued("kill Redis, and a server's driver", 1, func(f *fault) {
		testbed.Must(t, redis.Kill())
		m.killDriver(f, m.servers[0])
		testbed.Pause(t.Context(), longStop)
		testbed.Must(t, redis.Restart(context.Background()))
	})
}

// queued makes a fault again and again while casts wait.
func (m *mesh) queued(kind string, servers int, do func(*fault)) {
	t := m.t
	t.Helper()
	m.idle, m.slots = true, queueSlots
	m.beginWith(servers, 1)
	for range plan().LeastRounds() {
		m.queueUp()
		f := &fault{kind: kind, at: time.Now()}
		m.faults = append(m.faults, f)
		do(f)
		f.until = time.Now()
		m.awaitRun()
	}
	r := m.end()
	t.Logf("\n%s", r)
	if len(r.Broken) > 0 {
		t.Error("promises were broken")
	}
	// What was in the driver and never reached the application is not for it to know: it may be given
	// twice only what it had when it happened, or had just done.
	if most := uint64(mostTwice * len(m.faults)); m.duplicates > most {
		t.Errorf("the server knew %d casts that it was given again, want %d at most", m.duplicates, most)
	}
	if r.Accepted < burst/2 {
		t.Errorf("only %d casts were accepted: the test proves little", r.Accepted)
	}
}

// leave kills the driver of the server, and lets the client go in order before another one runs.
func (m *mesh) leave(f *fault) {
	m.killDriver(f, m.servers[0])
	testbed.Pause(m.t.Context(), 100*time.Millisecond) // what the client does not know it cannot wait for
	old := m.clients[0]
	if _, err := old.stop(); err != nil {
		m.problem = append(m.problem, err.Error())
	}
	m.clients[0] = m.start(roleClient, old.Name+"x")
	m.mustBeReady(m.clients[0])
}

// queueUp sends a burst, and waits until something was run and much waits.
func (m *mesh) queueUp() {
	size := func() int64 {
		st, err := os.Stat(m.servers[0].Ledger)
		testbed.Must(m.t, err)
		return st.Size()
	}
	from := size()
	testbed.Must(m.t, m.clients[0].Do("burst", burst, nil))
	testbed.Eventually(m.t, startTimeout, "casts are run", func() bool { return size() > from+1000 })
}

func (m *mesh) stopLong(f *fault, victim *app) {
	f.victim, f.app = victim.Name, victim
	pid, err := victim.SignalDriver(syscall.SIGSTOP)
	testbed.Must(m.t, err)
	testbed.Pause(m.t.Context(), longStop)
	testbed.Must(m.t, syscall.Kill(pid, syscall.SIGCONT))
}

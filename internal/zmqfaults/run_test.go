// SPDX-License-Identifier: Apache-2.0

package zmqfaults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/ledger"
	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/internal/testbed"
)

// disturb makes all faults, in another order each time.
func (m *mesh) disturb(faults ...planned) {
	m.t.Helper()
	ledger.Disturb(m.t, plan(), faults, func(f planned) { m.make(f.Kind, f.Do) })
}

type planned = ledger.Fault[fault]

// proves ends a run and fails when a promise was broken.
func (m *mesh) proves() {
	m.t.Helper()
	r := m.end()
	m.t.Logf("\n%s", r)
	if len(r.Broken) > 0 {
		m.t.Error("promises were broken")
	}
	if r.Answered == 0 || r.Accepted == 0 {
		m.t.Error("nothing was answered or accepted: the test proves nothing")
	}
}

func dirURL(m **mesh) func(string) string {
	return func(string) string { return "zmq://" + filepath.Join((*m).dir, "mesh") }
}

// TestDirectory is about nodes of one machine, which meet in a directory.
func TestDirectory(t *testing.T) {
	t.Parallel()
	var m *mesh
	m = newMesh(t, dirURL(&m), nil)
	m.begin()
	m.disturb(
		planned{Kind: faultKillServer, Do: m.killServer},
		planned{Kind: faultKillServerDriver, Do: m.killServerDriver},
		planned{Kind: faultKillClientDriver, Do: m.killClientDriver},
		planned{Kind: faultStopServerDriver, Do: m.stopServerDriver},
		planned{Kind: faultStopClientDriver, Do: m.stopClientDriver},
		planned{Kind: faultDeleteDirectory, Do: m.deleteDirectory},
		planned{Kind: faultReload, Do: m.reload},
		planned{Kind: faultShutdown, Do: m.shutdown},
		planned{Kind: faultJoin, Do: m.join},
	)
	m.proves()
}

// TestPeersFile is about nodes that know addresses from a file. Each has two, so that its driver
// can be swapped.
func TestPeersFile(t *testing.T) {
	t.Parallel()
	ports := map[string]int{}
	var listed []int
	for _, name := range []string{"s1", "s2", "s3", "c1", "c2", "last"} {
		ports[name] = freePorts(t)
		listed = append(listed, ports[name], ports[name]+1)
	}
	ports["guest"] = freePorts(t)
	var m *mesh
	file := func() string { return filepath.Join(m.dir, "peers.json") }
	m = newMesh(t, func(name string) string {
		return fmt.Sprintf("zmq+static://%s?rpc_zmq_bind_address=127.0.0.1&rpc_zmq_min_port=%d&rpc_zmq_max_port=%d", file(), ports[name], ports[name]+1)
	}, nil)
	testbed.Must(t, os.WriteFile(file(), []byte(peersText(listed...)), 0o600))
	m.begin()
	halfFile := func(f *fault) {
		whole := peersText(append(listed[:len(listed):len(listed)], ports["guest"], ports["guest"]+1)...)
		testbed.Must(t, os.WriteFile(file(), []byte(whole[:len(whole)-30]), 0o600))
		testbed.Pause(t.Context(), 500*time.Millisecond)
		a := m.start(roleServer, "guest")
		testbed.Must(t, os.WriteFile(file(), []byte(whole), 0o600))
		m.mustBeReady(a)
		f.joiner = a
		testbed.Pause(t.Context(), time.Second)
		if _, err := a.stop(); err != nil {
			m.problem = append(m.problem, err.Error())
		}
		testbed.Must(t, os.WriteFile(file(), []byte(peersText(listed...)), 0o600))
	}
	m.disturb(
		planned{Kind: faultHalfFile, Do: halfFile},
		planned{Kind: faultCutLinks, Do: m.cut},
		planned{Kind: faultKillServer, Do: m.killServer},
		planned{Kind: faultKillServerDriver, Do: m.killServerDriver},
		planned{Kind: faultKillClientDriver, Do: m.killClientDriver},
		planned{Kind: faultStopServerDriver, Do: m.stopServerDriver},
		planned{Kind: faultReload, Do: m.reload},
		planned{Kind: faultShutdown, Do: m.shutdown},
	)
	m.proves()
}

// freePorts finds two ports in a row that nobody uses.
func freePorts(t *testing.T) int {
	t.Helper()
	for range 100 {
		port := 20000 + 2*rand.N(6000)
		free := 0
		for i := range 2 {
			if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+i)); err == nil {
				free++
				testbed.Must(t, l.Close())
			}
		}
		if free == 2 {
			return port
		}
	}
	t.Fatal("no free ports")
	return 0
}

func redisURL(redis *peertest.Redis) func(string) string {
	return func(string) string {
		return "zmq+redis://" + redis.Addr() + "?rpc_zmq_bind_address=127.0.0.1&zmq_target_expire=6"
	}
}

// TestRedis is about nodes that meet in Redis, which is away for longer than the life of a record.
func TestRedis(t *testing.T) {
	t.Parallel()
	redis := peertest.RunRedis(t, nil)
	away := 10 * time.Second // more than a record lives
	if plan().IsLong() {
		away = time.Minute // the first time
	}
	m := newMesh(t, redisURL(redis), nil)
	m.begin()
	killRedis := func(f *fault) {
		testbed.Must(t, redis.Kill())
		down := time.Now()
		victim := m.any()
		testbed.Must(t, victim.killWithDriver())
		a := m.start(roleServer, victim.Name)
		for i, s := range m.servers {
			if s == victim {
				m.servers[i] = a
			}
		}
		testbed.Pause(t.Context(), away-time.Since(down))
		away = 10 * time.Second
		calls := time.Now().Add(-time.Second)
		if !m.answered("", calls) {
			m.problem = append(m.problem, "no calls go through while Redis is away")
		}
		testbed.Must(t, redis.Restart(context.Background()))
		f.note = "Redis was back at " + ledger.Clock(time.Now())
		f.victim, f.since = victim.Name, time.Now()
		m.mustBeReady(a)
		f.joiner = a
	}
	m.disturb(
		planned{Kind: faultKillRedis, Do: killRedis},
		planned{Kind: faultKillServer, Do: m.killServer},
		planned{Kind: faultKillServerDriver, Do: m.killServerDriver},
		planned{Kind: faultKillClientDriver, Do: m.killClientDriver},
		planned{Kind: faultReload, Do: m.reload},
		planned{Kind: faultShutdown, Do: m.shutdown},
	)
	m.proves()
}

// TestWhatIsBrokenIsFound breaks each promise once: a check that cannot fail is none.
func TestWhatIsBrokenIsFound(t *testing.T) {
	t.Parallel()
	var m *mesh
	m = newMesh(t, dirURL(&m), map[string]string{"s1": ledger.SpoilTwice, "s2": ledger.SpoilDrop, "c1": spoilLate, "c2": spoilWrong})
	m.patience = ledger.Slack
	m.begin()
	testbed.Pause(t.Context(), requestTimeout+3*ledger.Slack)
	testbed.Must(t, os.WriteFile(filepath.Join(ledger.Runtime(m.dir), "leave"), nil, 0o600))
	r := m.end()
	for what, found := range map[string]int{
		"lost": r.lost, "run twice": r.twice, "hung": r.hung, "without a code": r.uncoded, "left": len(r.left),
	} {
		if found != 1 {
			t.Errorf("%s: %d were found, 1 was made\n%s", what, found, r)
		}
	}
	if n := len(r.Broken); n != 5 {
		t.Errorf("%d promises were broken, want 5:\n%s", n, strings.Join(r.Broken, "\n"))
	}
}

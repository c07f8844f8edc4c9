// SPDX-License-Identifier: Apache-2.0

package zmqfaults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/peertest"
)

// leastRounds is how often each fault is made at least.
func leastRounds() int {
	if os.Getenv(timeVariable) == "" {
		return 1
	}
	return 10
}

// rounds says how often each fault of a run is made: once, or ten times and as long as
// PARLEY_ZMQFAULTS_TIME says.
func rounds(t *testing.T) func(yet int) bool {
	t.Helper()
	end := time.Now()
	if text := os.Getenv(timeVariable); text != "" {
		d, err := time.ParseDuration(text)
		must(t, err)
		end = end.Add(d)
	}
	return func(yet int) bool { return yet < leastRounds() || time.Now().Before(end) }
}

type planned struct {
	kind string
	do   func(*fault)
}

// disturb makes all faults, in another order each time.
func (m *mesh) disturb(faults ...planned) {
	m.t.Helper()
	more := rounds(m.t)
	faults = slices.DeleteFunc(faults, func(p planned) bool { return !regexp.MustCompile(os.Getenv(onlyVariable)).MatchString(p.kind) })
	for yet := 0; more(yet); yet++ {
		rand.Shuffle(len(faults), func(i, j int) { faults[i], faults[j] = faults[j], faults[i] })
		for _, p := range faults {
			m.make(p.kind, p.do)
		}
	}
}

// proves ends a run and fails when a promise was broken.
func (m *mesh) proves() {
	m.t.Helper()
	r := m.end()
	m.t.Logf("\n%s", r)
	if len(r.broken) > 0 {
		m.t.Error("promises were broken")
	}
	if r.answered == 0 || r.accepted == 0 {
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
		planned{faultKillServer, m.killServer},
		planned{faultKillServerDriver, m.killServerDriver},
		planned{faultKillClientDriver, m.killClientDriver},
		planned{faultStopServerDriver, m.stopServerDriver},
		planned{faultStopClientDriver, m.stopClientDriver},
		planned{faultDeleteDirectory, m.deleteDirectory},
		planned{faultReload, m.reload},
		planned{faultShutdown, m.shutdown},
		planned{faultJoin, m.join},
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
	must(t, os.WriteFile(file(), []byte(peersText(listed...)), 0o600))
	m.begin()
	halfFile := func(f *fault) {
		whole := peersText(append(listed[:len(listed):len(listed)], ports["guest"], ports["guest"]+1)...)
		must(t, os.WriteFile(file(), []byte(whole[:len(whole)-30]), 0o600))
		pause(t.Context(), 500*time.Millisecond)
		a := m.start(roleServer, "guest")
		must(t, os.WriteFile(file(), []byte(whole), 0o600))
		m.mustBeReady(a)
		f.joiner = a
		pause(t.Context(), time.Second)
		if _, err := a.stop(); err != nil {
			m.problem = append(m.problem, err.Error())
		}
		must(t, os.WriteFile(file(), []byte(peersText(listed...)), 0o600))
	}
	m.disturb(
		planned{faultHalfFile, halfFile},
		planned{faultCutLinks, m.cut},
		planned{faultKillServer, m.killServer},
		planned{faultKillServerDriver, m.killServerDriver},
		planned{faultKillClientDriver, m.killClientDriver},
		planned{faultStopServerDriver, m.stopServerDriver},
		planned{faultReload, m.reload},
		planned{faultShutdown, m.shutdown},
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
				must(t, l.Close())
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
	if os.Getenv(timeVariable) != "" {
		away = time.Minute // the first time
	}
	m := newMesh(t, redisURL(redis), nil)
	m.begin()
	killRedis := func(f *fault) {
		must(t, redis.Kill())
		down := time.Now()
		victim := m.any()
		must(t, victim.killWithDriver())
		a := m.start(roleServer, victim.Name)
		for i, s := range m.servers {
			if s == victim {
				m.servers[i] = a
			}
		}
		pause(t.Context(), away-time.Since(down))
		away = 10 * time.Second
		calls := time.Now().Add(-time.Second)
		if !m.answered("", calls) {
			m.problem = append(m.problem, "no calls go through while Redis is away")
		}
		must(t, redis.Restart(context.Background()))
		f.note = "Redis was back at " + clock(time.Now())
		f.victim, f.since = victim.Name, time.Now()
		m.mustBeReady(a)
		f.joiner = a
	}
	m.disturb(
		planned{faultKillRedis, killRedis},
		planned{faultKillServer, m.killServer},
		planned{faultKillServerDriver, m.killServerDriver},
		planned{faultKillClientDriver, m.killClientDriver},
		planned{faultReload, m.reload},
		planned{faultShutdown, m.shutdown},
	)
	m.proves()
}

// TestWhatIsBrokenIsFound breaks each promise once: a check that cannot fail is none.
func TestWhatIsBrokenIsFound(t *testing.T) {
	t.Parallel()
	var m *mesh
	m = newMesh(t, dirURL(&m), map[string]string{"s1": sabotageTwice, "s2": sabotageDrop, "c1": sabotageLate, "c2": sabotageWrong})
	m.patience = slack
	m.begin()
	pause(t.Context(), requestTimeout+3*slack)
	must(t, os.WriteFile(filepath.Join(m.runtime(), sabotageLeave), nil, 0o600))
	r := m.end()
	for what, found := range map[string]int{
		"lost": r.lost, "run twice": r.twice, "hung": r.hung, "without a code": r.uncoded, "left": len(r.left),
	} {
		if found != 1 {
			t.Errorf("%s: %d were found, 1 was made\n%s", what, found, r)
		}
	}
	if n := len(r.broken); n != 5 {
		t.Errorf("%d promises were broken, want 5:\n%s", n, strings.Join(r.broken, "\n"))
	}
}

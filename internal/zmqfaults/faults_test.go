// SPDX-License-Identifier: Apache-2.0

package zmqfaults

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/parleymq/parley/internal/ledger"
	"github.com/parleymq/parley/internal/testbed"
)

const (
	faultKillServer       = "kill a server"
	faultKillServerDriver = "kill a server's driver"
	faultKillClientDriver = "kill a client's driver"
	faultStopServerDriver = "stop a server's driver"
	faultStopClientDriver = "stop a client's driver"
	faultDeleteDirectory  = "delete the directory"
	faultReload           = "swap a driver"
	faultShutdown         = "shut a server down, start another"
	faultJoin             = "a server joins, and leaves"
	faultHalfFile         = "half a peers file, then a new peer"
	faultCutLinks         = "cut all links of a driver"
	faultLeave            = "kill a server's driver, and leave"
	faultKillRedis        = "kill Redis, replace a server"
)

// killServer kills a server in the middle of its calls, and starts another of the same name.
func (m *mesh) killServer(f *fault) {
	victim := m.any()
	f.victim = victim.Name
	m.awaitBusy(victim)
	f.at = time.Now()
	testbed.Must(m.t, victim.killWithDriver())
	m.replace(f, victim)
}

// awaitBusy waits until the server is in the middle of something.
func (m *mesh) awaitBusy(a *app) {
	deadline := time.Now().Add(2 * time.Second)
	for time.Now().Before(deadline) {
		lines, err := ledger.Read(a.Ledger)
		testbed.Must(m.t, err)
		running := 0
		for _, l := range lines {
			if l.Done {
				running--
			} else {
				running++
			}
		}
		if running > 0 {
			return
		}
	}
}

func (m *mesh) killDriver(f *fault, victim *app) {
	f.victim, f.app = victim.Name, victim
	f.at = time.Now()
	pid, err := victim.SignalDriver(syscall.SIGKILL)
	testbed.Must(m.t, err)
	f.note = fmt.Sprint("process ", pid)
}

func (m *mesh) killServerDriver(f *fault) { m.killDriver(f, m.any()) }

func (m *mesh) killClientDriver(f *fault) { m.killDriver(f, m.clients[rand.N(len(m.clients))]) }

// stopDriver lets a driver hang for longer than its peers wait for it, and lets it go on.
func (m *mesh) stopDriver(f *fault, victim *app) {
	f.victim, f.app = victim.Name, victim
	f.at = time.Now()
	pid, err := victim.SignalDriver(syscall.SIGSTOP)
	testbed.Must(m.t, err)
	testbed.Pause(m.t.Context(), 4*time.Second+rand.N(2*time.Second))
	testbed.Must(m.t, syscall.Kill(pid, syscall.SIGCONT))
	f.note = fmt.Sprint("process ", pid)
}

func (m *mesh) stopServerDriver(f *fault) { m.stopDriver(f, m.any()) }

func (m *mesh) stopClientDriver(f *fault) { m.stopDriver(f, m.clients[rand.N(len(m.clients))]) }

// reload swaps a driver for another process of the same program.
func (m *mesh) reload(f *fault) {
	all := slices.Concat(m.clients, m.servers)
	m.swap(f, all[rand.N(len(all))])
}

func (m *mesh) swap(f *fault, victim *app) {
	f.victim, f.app = victim.Name, victim
	if err := victim.Do("reload", nil, nil); err != nil {
		m.problem = append(m.problem, "swap: "+err.Error())
	}
}

// shutdown stops a server in order, and starts another of its name.
func (m *mesh) shutdown(f *fault) {
	victim := m.any()
	f.victim, f.app = victim.Name, victim
	if _, err := victim.stop(); err != nil {
		m.problem = append(m.problem, err.Error())
	}
	m.replace(f, victim)
}

// join lets a server with a new name come, and go again.
func (m *mesh) join(f *fault) {
	a := m.start(roleServer, "guest")
	m.mustBeReady(a)
	f.joiner, f.app = a, a
	testbed.Pause(m.t.Context(), time.Second)
	if _, err := a.stop(); err != nil {
		m.problem = append(m.problem, err.Error())
	}
}

// cut breaks all connections of a driver, with what is on the way in them.
func (m *mesh) cut(f *fault) {
	all := slices.Concat(m.clients, m.servers)
	victim := all[rand.N(len(all))]
	f.victim, f.app = victim.Name, victim
	pid, err := victim.Driver()
	testbed.Must(m.t, err)
	n, err := cutLinks(pid)
	if errors.Is(err, os.ErrPermission) || errors.Is(err, errors.ErrUnsupported) {
		m.t.Logf("NOT PROVEN: what a link that breaks takes with it comes again: %v", err)
		return
	}
	testbed.Must(m.t, err)
	f.note = fmt.Sprint(n, " links")
	if n == 0 {
		m.problem = append(m.problem, "there was no link to cut")
	}
}

// deleteDirectory removes the directory where the nodes meet, with everything.
func (m *mesh) deleteDirectory(*fault) {
	// The nodes put their files there again meanwhile.
	if !testbed.Wait(startTimeout, func() bool { return os.RemoveAll(filepath.Join(m.dir, "mesh")) == nil }) {
		m.t.Fatal("the directory cannot be removed")
	}
	testbed.Pause(m.t.Context(), 500*time.Millisecond)
}

// peersText is a file of peers.
func peersText(ports ...int) string {
	var endpoints []string
	for _, port := range ports {
		endpoints = append(endpoints, fmt.Sprintf("%q", fmt.Sprintf("tcp://127.0.0.1:%d", port)))
	}
	return `{"peers": [` + strings.Join(endpoints, ", ") + "]}\n"
}

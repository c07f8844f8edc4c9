// SPDX-License-Identifier: Apache-2.0

package qpidfaults

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"time"

	"github.com/parleymq/parley/internal/ledger"
	"github.com/parleymq/parley/internal/testbed"
)

const (
	faultKillBroker       = "kill -9 the broker, start it again"
	faultStopBroker       = "stop the broker, start it again"
	faultPauseBroker      = "pause the broker"
	faultCutClient        = "cut a client's connection"
	faultCutServer        = "cut a server's connection"
	faultCutAll           = "cut all connections"
	faultCutTwice         = "cut all, and again as they come"
	faultKillClientDriver = "kill -9 a client's driver"
	faultKillServerDriver = "kill -9 a server's driver"
	faultSwapClient       = "swap a client's driver"
	faultSwapServer       = "swap a server's driver"
	faultRefuse           = "keep a client away"
)

// fault is something that was done.
type fault struct {
	kind   string
	victim *app // whose connection or driver it was, nil for the broker or everybody
	at     time.Time
	hit    time.Time     // when it had its effect: nothing from before goes on
	back   time.Time     // when things could go on
	until  time.Time     // when everything went through again
	limit  time.Duration // of its recovery
	note   string
	tally
}

// all are the faults that are made.
func (r *run) all() []ledger.Fault[fault] {
	return []ledger.Fault[fault]{
		{Kind: faultKillBroker, Do: r.killBroker},
		{Kind: faultStopBroker, Do: r.stopBroker},
		{Kind: faultPauseBroker, Do: r.pauseBroker},
		{Kind: faultCutClient, Do: func(f *fault) { r.cut(f, r.anyClient()) }},
		{Kind: faultCutServer, Do: func(f *fault) { r.cut(f, r.anyServer()) }},
		{Kind: faultCutAll, Do: func(f *fault) { r.cut(f, nil) }},
		{Kind: faultCutTwice, Do: r.cutTwice},
		{Kind: faultKillClientDriver, Do: func(f *fault) { r.killDriver(f, r.anyClient()) }},
		{Kind: faultKillServerDriver, Do: func(f *fault) { r.killDriver(f, r.anyServer()) }},
		{Kind: faultSwapClient, Do: func(f *fault) { r.swap(f, r.anyClient()) }},
		{Kind: faultSwapServer, Do: func(f *fault) { r.swap(f, r.anyServer()) }},
	}
}

func (r *run) anyClient() *app { return r.clients[rand.N(len(r.clients))] }

func (r *run) anyServer() *app { return r.servers[rand.N(len(r.servers))] }

// endsBroker says that the broker's memory, which is all it has here, was lost.
func (f *fault) endsBroker() bool { return f.kind == faultKillBroker || f.kind == faultStopBroker }

// isPeaceful says that nothing was broken.
func (f *fault) isPeaceful() bool { return f.kind == faultSwapClient || f.kind == faultSwapServer }

// endsReplies says that the reply address of a client was lost.
func (f *fault) endsReplies(client string) bool {
	switch {
	case f.isPeaceful():
		return false
	case f.victim == nil:
		return true
	default:
		return f.victim.Name == client
	}
}

// concerns says that what it broke is between these two; server is "" for any.
func (f *fault) concerns(client, server string) bool {
	return f.victim == nil || f.victim.Name == client || f.victim.Name == server
}

func (r *run) killBroker(f *fault) {
	testbed.Must(r.t, r.broker.Kill())
	f.hit = time.Now()
	testbed.Must(r.t, r.broker.Restart(r.t.Context()))
	f.back = time.Now()
}

func (r *run) stopBroker(f *fault) {
	testbed.Must(r.t, r.broker.Stop(r.t.Context()))
	f.hit = time.Now()
	testbed.Must(r.t, r.broker.Restart(r.t.Context()))
	f.back = time.Now()
}

// pauseBroker lets the broker hang until everybody has given it up.
func (r *run) pauseBroker(f *fault) {
	testbed.Must(r.t, r.broker.Pause())
	f.hit = time.Now()
	testbed.Pause(r.t.Context(), pauseTime)
	testbed.Must(r.t, r.broker.Resume())
	f.back = time.Now()
}

// cut resets the connection of an application, or of all for nil.
func (r *run) cut(f *fault, victim *app) {
	f.victim = victim
	victims := []*app{victim}
	if victim == nil {
		victims = slices.Concat(r.clients, r.servers)
	}
	for _, v := range victims {
		if v.proxy.Cut() == 0 {
			r.problem = append(r.problem, v.Name+": there was no connection to cut")
		}
	}
}

// cutTwice cuts all connections, and again while they are opened.
func (r *run) cutTwice(f *fault) {
	all := slices.Concat(r.clients, r.servers)
	seen := make([]int, len(all))
	for i, a := range all {
		seen[i] = a.proxy.Seen()
	}
	r.cut(f, nil)
	if !testbed.Wait(healLimit, func() bool {
		return slices.IndexFunc(all, func(a *app) bool { return a.proxy.Seen() == seen[slices.Index(all, a)] }) < 0
	}) {
		r.problem = append(r.problem, "not all connections came back")
	}
	testbed.Pause(r.t.Context(), rand.N(100*time.Millisecond))
	for _, a := range all {
		a.proxy.Cut()
	}
	f.note = fmt.Sprintf("again after %v", ledger.Round(time.Since(f.at)))
}

func (r *run) killDriver(f *fault, victim *app) {
	f.victim = victim
	pid, err := victim.SignalDriver(syscall.SIGKILL)
	testbed.Must(r.t, err)
	testbed.Eventually(r.t, endTimeout, "the driver is dead", func() bool { return !bed.Running(pid) })
}

// swap replaces a driver by another process of the same program.
func (r *run) swap(f *fault, victim *app) {
	f.victim = victim
	if err := victim.Do("reload", nil, nil); err != nil {
		r.problem = append(r.problem, "swap: "+err.Error())
	}
}

// refuse keeps a client away from the broker for longer than its recovery may take.
func (r *run) refuse(f *fault, victim *app) {
	f.limit = time.Second
	victim.proxy.Refuse(true)
	r.cut(f, victim)
	f.hit, f.back = time.Now(), time.Now()
	testbed.Pause(r.t.Context(), 2*f.limit)
	victim.proxy.Refuse(false)
}

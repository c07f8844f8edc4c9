// SPDX-License-Identifier: Apache-2.0

package zmqfaults

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/parleymq/parley/internal/ledger"
	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

const (
	roleServer = "server"
	roleClient = "client"
	// roleAttacker is no application: it is many clients that send garbage, or nothing.
	roleAttacker = "attacker"
	// startTimeout is long for what is to succeed on a busy machine, endTimeout bounds the end of
	// an application.
	startTimeout = 30 * time.Second
	endTimeout   = 20 * time.Second
	// readyTimeout is longer than the discovery is away.
	readyTimeout = 2 * time.Minute
	// requestTimeout is that of all requests.
	requestTimeout = 2 * time.Second
	// burstSleep is how long the handler of a cast of a burst takes, in milliseconds.
	burstSleep = 10
)

// What a client breaks on purpose, once, to prove that it is found, besides what a server does.
const (
	spoilLate  = "late"  // its caller is kept past its time
	spoilWrong = "wrong" // an error without a code
)

// settings are what an application is told.
type settings struct {
	ledger.Settings
	Servers     []string // that a client calls by their names
	Spoils      string
	Idle        bool          // a client makes requests only when it is told to
	Concurrency int           // of a server
	Backoff     time.Duration // before a driver is started again
}

// actAsApp is an application until it is told to stop.
func actAsApp(s settings, orders *testbed.Orders) error {
	if s.Role == roleAttacker {
		return actAsAttackers(s.URL, orders)
	}
	limits := ledger.Limits{Ready: readyTimeout, End: endTimeout}
	supervision := messaging.Supervision{BreakerFailures: -1, DrainTimeout: 5 * time.Second, ProbationTime: time.Second, BackoffMin: s.Backoff, BackoffMax: time.Second}
	return ledger.Act(s.Settings, orders, limits, supervision, func(ctx context.Context, a *ledger.Application) error {
		a.Spoil(s.Spoils)
		if s.Role == roleServer {
			return a.Serve(ctx, &messaging.RPCServerOptions{Concurrency: s.Concurrency})
		}
		c := ledger.NewClient(a, ledger.Load{
			Timeout: requestTimeout, Callers: 3, Casters: 3,
			CallPace: 30 * time.Millisecond, CastPace: 20 * time.Millisecond, FanoutPace: 200 * time.Millisecond,
			Servers: s.Servers, DirectPace: 80 * time.Millisecond, MaxDirect: 30,
			Sleep: sleep, Spoil: func(err error) error { return spoil(a, err) },
		})
		return c.Obey(s.Idle, map[string]testbed.Command{
			"burst": testbed.Take(func(n int) (any, error) { burstOf(c, n); return nil, nil }),
		})
	})
}

// burstOf casts n times at once, and waits until half of them were accepted or failed.
func burstOf(c *ledger.Client, n int) {
	var first sync.WaitGroup
	for range n / 2 {
		first.Go(func() { _ = c.Cast(burstSleep) })
	}
	first.Wait()
	for range n - n/2 {
		c.Go(func() { _ = c.Cast(burstSleep) })
	}
}

// spoil breaks the promises that a client is told to break.
func spoil(a *ledger.Application, err error) error {
	if a.Spoils(spoilLate) {
		testbed.Pause(context.Background(), requestTimeout+2*ledger.Slack)
	}
	if a.Spoils(spoilWrong) {
		return errors.New("something")
	}
	return err
}

// sleep is how long a handler takes: mostly nothing, sometimes so long that a fault hits it.
func sleep() int {
	if rand.N(10) == 0 {
		return 100 + rand.N(300)
	}
	return rand.N(5)
}

// SPDX-License-Identifier: Apache-2.0

package qpidfaults

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/parleymq/parley/internal/ledger"
	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

const (
	roleServer = "server"
	roleClient = "client"
	// startTimeout is long for what is to succeed on a busy machine, endTimeout bounds the end of
	// an application.
	startTimeout = time.Minute
	endTimeout   = 30 * time.Second
	// requestTimeout is that of all requests.
	requestTimeout = 10 * time.Second
)

// What a client breaks on purpose, once, to prove that it is found, besides what a server does.
const (
	spoilLate   = "late"   // its caller is kept past its time
	spoilTold   = "told"   // it learns late that a call is in doubt
	spoilWrong  = "wrong"  // an error without a code
	spoilUntrue = "untrue" // an error that says that nothing was sent
)

// settings are what an application is told.
type settings struct {
	ledger.Settings
	Servers []string // that a client calls by their names
	Spoils  []string
}

// actAsApp is an application until it is told to stop.
func actAsApp(s settings, orders *testbed.Orders) error {
	limits := ledger.Limits{Ready: startTimeout, End: endTimeout}
	supervision := messaging.Supervision{BreakerFailures: -1, ProbationTime: time.Second}
	return ledger.Act(s.Settings, orders, limits, supervision, func(ctx context.Context, a *ledger.Application) error {
		a.Spoil(s.Spoils...)
		if s.Role == roleServer {
			return a.Serve(ctx, nil)
		}
		load := ledger.Load{
			Timeout: requestTimeout, Callers: 8, Casters: 3,
			CallPace: 100 * time.Millisecond, CastPace: 100 * time.Millisecond, FanoutPace: 300 * time.Millisecond,
			FailedPace: 50 * time.Millisecond,
			Servers:    s.Servers, DirectPace: 100 * time.Millisecond, MaxDirect: 40,
			Sleep: sleep, Spoil: func(err error) error { return spoil(a, err) },
		}
		return ledger.NewClient(a, load).Obey(false, map[string]testbed.Command{})
	})
}

// spoil breaks the promises that a client is told to break.
func spoil(a *ledger.Application, err error) error {
	switch {
	case err == nil && a.Spoils(spoilLate):
		testbed.Pause(context.Background(), requestTimeout+2*ledger.Slack)
	case errors.Is(err, messaging.ErrInDoubt) && a.Spoils(spoilTold):
		testbed.Pause(context.Background(), toldLimit)
	case err == nil && a.Spoils(spoilWrong):
		return errors.New("something")
	case err == nil && a.Spoils(spoilUntrue):
		return &messaging.Error{Code: messaging.CodeUnavailable}
	}
	return err
}

// sleep is how long a handler takes: mostly nothing, sometimes so long that a fault hits it.
func sleep() int {
	if rand.N(4) == 0 {
		return 100 + rand.N(400)
	}
	return rand.N(5)
}

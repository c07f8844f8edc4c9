// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"
)

// Kind is a kind of fault.
type Kind string

// The kinds.
const (
	KillDriver    Kind = "kill -9 driver"
	StopDriver    Kind = "SIGSTOP driver"
	RestartBroker Kind = "broker restart"
	KillBroker    Kind = "broker kill -9"
	CutNetwork    Kind = "TCP cut"
	SwapDriver    Kind = "hot swap"
	SlowHandler   Kind = "slow handler"
	AddListener   Kind = "listener added"
)

// Kinds are all kinds of fault, in the order of the report.
func Kinds() []Kind {
	return []Kind{KillDriver, StopDriver, RestartBroker, KillBroker, CutNetwork, SwapDriver, SlowHandler, AddListener}
}

// planned is one fault to come.
type planned struct {
	at     time.Duration // since the first could come
	kind   Kind
	number int     // of its kind, from 0; even ones hit one end, odd ones the other
	dice   float64 // what is left to chance in it, from 0 to 1
}

// rare is how many times rarer than others is the kill -9 of the broker's node, which takes many
// seconds to boot. A restart stops and starts the broker within its node; a second is enough.
const rare = 10

// count is how many faults of a kind are made.
func (k Kind) count(perKind int) int {
	if k == KillBroker {
		return perKind / rare
	}
	return perKind
}

// hitsBroker says that a kind of fault is for the one broker, not for an end.
func (k Kind) hitsBroker() bool { return k == RestartBroker || k == KillBroker }

// plan spreads the faults of each kind over the time, at random. It depends on nothing but
// its arguments, so that a seed brings the same run back as far as the machine allows.
func plan(seed uint64, duration time.Duration, perKind int) []planned {
	all := make([]planned, 0, perKind*len(Kinds()))
	for i, kind := range Kinds() {
		random := rand.New(rand.NewPCG(seed, uint64(i))) //nolint:gosec // to be repeated, not to be secret
		count := kind.count(perKind)
		for n := range count {
			// Each has its own part of the time, so that none is bunched at the end.
			at := (float64(n) + random.Float64()) / float64(count) * float64(duration)
			all = append(all, planned{at: time.Duration(at), kind: kind, number: n, dice: random.Float64()})
		}
	}
	slices.SortFunc(all, func(a, b planned) int { return cmp.Compare(a.at, b.at) })
	return all
}

// hits is which of n ends a fault is for.
func (p planned) hits(n int) int { return p.number % n }

// one of n variants, by number, so that each has its turn at each end.
func (p planned) variant(n int) int { return p.number / 2 % n }

// between turns the fault's dice into a time.
func (p planned) between(low, high time.Duration) time.Duration {
	return low + time.Duration(p.dice*float64(high-low))
}

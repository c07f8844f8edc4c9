// SPDX-License-Identifier: Apache-2.0

// Package unittest is a small part of an application that asks others over the broker, and its
// unit tests: with a broker in memory they see what it sends, and let happen what brokers do.
package unittest

import (
	"context"
	"errors"
	"fmt"

	"github.com/parleymq/parley/messaging"
)

// StartArgs are the arguments of start_instance.
type StartArgs struct {
	ID string `json:"id"`
}

// methods are what compute hosts can be asked for.
type methods struct {
	start, stop messaging.Method[StartArgs, string]
	refresh     messaging.Method[struct{}, struct{}]
}

func newMethods() methods {
	return methods{
		start:   messaging.Method[StartArgs, string]{Name: "start_instance"},
		stop:    messaging.Method[StartArgs, string]{Name: "stop_instance"},
		refresh: messaging.Method[struct{}, struct{}]{Name: "refresh_cache"},
	}
}

// ErrTryLater says that nothing has happened, and that it may work later.
var ErrTryLater = errors.New("the compute hosts cannot be reached now")

// ErrUnknown says that nobody knows whether the instance was started. It is being stopped.
var ErrUnknown = errors.New("the instance did not start in time")

// Scheduler starts instances on compute hosts.
type Scheduler struct {
	methods methods
	compute *messaging.RPCClient
	// hints is for requests that may run more than once: they are sent again when in doubt.
	hints *messaging.RPCClient
}

// NewScheduler returns a Scheduler that works through t.
func NewScheduler(t *messaging.Transport) *Scheduler {
	compute := messaging.Target{Topic: "compute"}
	return &Scheduler{
		methods: newMethods(),
		compute: messaging.NewRPCClient(t, compute, nil),
		hints:   messaging.NewRPCClient(t, compute, &messaging.RPCClientOptions{Repeatable: true}),
	}
}

// Start starts an instance and returns the host that it runs on. It fails with ErrTryLater or
// ErrUnknown, or with what the compute host says.
func (s *Scheduler) Start(ctx context.Context, id string) (host string, err error) {
	host, err = s.methods.start.Call(ctx, s.compute, StartArgs{ID: id})
	switch {
	case errors.Is(err, messaging.ErrUnavailable):
		return "", fmt.Errorf("%w: %w", ErrTryLater, err) // certainly not sent
	case errors.Is(err, messaging.ErrNoReply), errors.Is(err, messaging.ErrInDoubt):
		// It may run, and nobody would know: have it stopped.
		return "", errors.Join(ErrUnknown, s.methods.stop.Cast(ctx, s.compute, StartArgs{ID: id}))
	default:
		return host, err
	}
}

// Refresh tells all hosts that their caches are old.
func (s *Scheduler) Refresh(ctx context.Context) error {
	return s.methods.refresh.Cast(ctx, s.hints.With(messaging.Fanout()), struct{}{})
}

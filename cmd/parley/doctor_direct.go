// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"

	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/plugin/driver"
)

// direct says that nothing stands between a sender and its receiver: there is no broker that the
// steps in the middle could look at. The hosts of a URL, if it has any, are where the others are
// found, and the driver works while they are away.
func (x *examination) direct() bool { return x.info.Has(driver.CapDirect) }

// noBroker begins what those steps say then.
const noBroker = "there is no broker"

// noHosts is why the steps of the network have nothing to look at.
func (x *examination) noHosts() string {
	if x.direct() {
		return noBroker + ": applications talk to each other, and the URL names no host where they are found"
	}
	return "the URL names no host that could be looked at"
}

// enter is login without a broker: it waits until the driver is open and sees where the others
// are to be found.
func (x *examination) enter(ctx context.Context, s *session) stepResult {
	if err := s.Ping(ctx); err != nil && !errors.Is(err, messaging.ErrUnsupported) {
		return failedStep(err)
	}
	return skippedStep(noBroker + " to let anybody in; the driver is open")
}

// closedHint is what to do about a host that takes no connections.
func (x *examination) closedHint(address string) string {
	if x.direct() {
		return "nobody is to be found by " + address + " while it is away; check that it runs, and that no firewall is between"
	}
	return "check that the broker runs and listens at " + address + ", and that no firewall is between"
}

// taker is who takes what publish sends.
func (x *examination) taker() string {
	if x.direct() {
		return "the listener"
	}
	return "the broker"
}

// lostHint is what to do when a message does not come back.
func (x *examination) lostHint() string {
	if x.direct() {
		return "the driver's own listener did not hand it over: the driver says more with --log-level debug"
	}
	return "the user may lack the permission to read the queue, or somebody else reads it: the driver says more with --log-level warn"
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math/rand/v2"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// hostOrder says which host is tried next: upstream begins with any, so that clients spread over the
// peers, and goes on with the next. It belongs to one goroutine.
type hostOrder struct {
	hosts []driver.Host
	next  int
}

func newHostOrder(hosts []driver.Host) *hostOrder {
	//nolint:gosec // the order of hosts is no secret
	return &hostOrder{hosts: hosts, next: rand.IntN(len(hosts))}
}

// Len implements uplink.Hosts.
func (o *hostOrder) Len() int { return len(o.hosts) }

// Next implements uplink.Hosts.
func (o *hostOrder) Next() driver.Host {
	h := o.hosts[o.next]
	o.next = (o.next + 1) % len(o.hosts)
	return h
}

// backoff is the wait after pass n over the hosts failed, counted from zero. Upstream multiplies, and
// comes to no wait at all with a factor of zero; here the first wait is the least. A part of it is
// left to chance, so that clients which lost a peer at once do not come back at once.
func (s *settings) backoff(n int) time.Duration {
	d := s.retryInterval
	for range n {
		if s.retryBackoff < 2 || d >= s.intervalMax {
			break
		}
		// Compared before it is multiplied, which could overflow.
		if d > s.intervalMax/time.Duration(s.retryBackoff) {
			d = s.intervalMax
			break
		}
		d *= time.Duration(s.retryBackoff)
	}
	d = min(d, s.intervalMax)
	return d - rand.N(d/4+1) //nolint:gosec // a wait is no secret
}

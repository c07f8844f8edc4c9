// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// hostOrder says which host is tried next. It belongs to one goroutine.
type hostOrder struct {
	hosts   []driver.Host
	shuffle bool
	next    int
}

// newHostOrder mixes the hosts once, as upstream does: the clients of a cluster spread over
// its nodes.
func newHostOrder(hosts []driver.Host, shuffle bool) *hostOrder {
	o := &hostOrder{hosts: slices.Clone(hosts), shuffle: shuffle}
	o.mix()
	return o
}

func (o *hostOrder) mix() {
	//nolint:gosec // the order of hosts is no secret
	rand.Shuffle(len(o.hosts), func(i, j int) { o.hosts[i], o.hosts[j] = o.hosts[j], o.hosts[i] })
}

// Len implements uplink.Hosts.
func (o *hostOrder) Len() int { return len(o.hosts) }

// Next implements uplink.Hosts.
func (o *hostOrder) Next() driver.Host {
	if o.next == len(o.hosts) {
		o.next = 0
		if o.shuffle {
			o.mix()
		}
	}
	h := o.hosts[o.next]
	o.next++
	return h
}

// backoff is the wait before pass n over the hosts, counted from the first failure.
func (s *settings) backoff(n int) time.Duration {
	return min(s.retryInterval+time.Duration(n)*s.retryBackoff, s.intervalMax)
}

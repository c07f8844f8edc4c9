// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/uplink"
)

// link keeps one of the two connections to the broker.
type link = uplink.Link[*session]

// newLink returns that of a purpose, "send" or "receive".
func newLink(purpose string, set *settings, states *uplink.States) *link {
	log := set.log.With("link", purpose)
	return uplink.New(uplink.Options[*session]{
		Name: purpose, States: states, Log: log, Hosts: newHostOrder(set.hosts, set.shuffle),
		Dial:    func(ctx context.Context, h driver.Host) (*session, *driver.Error) { return dial(ctx, set, h) },
		Backoff: set.backoff,
		Welcome: func(s *session) {
			s.log = log
			log.Info("connected", "host", s.host)
		},
	})
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/uplink"
)

// link keeps the connection to the peer.
type link = uplink.Link[*session]

func newLink(set *settings, states *uplink.States) *link {
	w := welcomer{set: set}
	return uplink.New(uplink.Options[*session]{
		Name: "peer", States: states, Log: set.log, Hosts: newHostOrder(set.hosts),
		Dial:    func(ctx context.Context, h driver.Host) (*session, *driver.Error) { return dial(ctx, set, h) },
		Backoff: set.backoff, Welcome: w.welcome,
	})
}

// welcomer belongs to the link's goroutine.
type welcomer struct {
	set  *settings
	mode string // how addresses were chosen last
}

// welcome logs whom we are connected to, and how addresses look when that is new.
func (w *welcomer) welcome(s *session) {
	w.set.log.Info("connected", "host", s.host, "product", foreign(s.product), "container", foreign(s.peer.ContainerID), "sessions", s.pool.limit)
	if mode := string(s.addr.Mode) + s.addr.Why; mode != w.mode {
		w.mode = mode
		w.set.log.Info("addressing chosen", "host", s.host, "mode", string(s.addr.Mode), "why", s.addr.Why)
	}
}

// SPDX-License-Identifier: Apache-2.0

package node

import (
	"slices"
	"time"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/zmq/internal/registry"
)

// key is where a message can go: what a target, a reply name or a topic of notifications have in
// common.
type key struct {
	kind     driver.SourceKind
	exchange string
	topic    string
	server   string // or the reply name
	priority string
	pool     string
}

// keyOf is where a message goes; a notification's pool is added later.
func keyOf(m *driver.Message) key {
	switch m.Kind {
	case driver.Reply, driver.Heartbeat:
		return key{kind: driver.SourceReplies, server: m.ReplyTo}
	case driver.Notification:
		return key{kind: driver.SourceNotifications, exchange: m.Target.Exchange, topic: m.Target.Topic, priority: m.Priority}
	default:
		return key{kind: driver.SourceServer, exchange: m.Target.Exchange, topic: m.Target.Topic, server: m.Target.Server}
	}
}

// keysOf are the keys that reach a target of a record.
func keysOf(t registry.Target) []key {
	switch t.Kind {
	case driver.SourceReplies:
		return []key{{kind: t.Kind, server: t.Reply}}
	case driver.SourceNotifications:
		return []key{{kind: t.Kind, exchange: t.Exchange, topic: t.Topic, priority: t.Priority, pool: t.Pool}}
	default:
		topic := key{kind: t.Kind, exchange: t.Exchange, topic: t.Topic}
		if t.Server == "" {
			return []key{topic}
		}
		server := topic
		server.server = t.Server
		return []key{topic, server}
	}
}

func (k key) target() registry.Target {
	t := registry.Target{Kind: k.kind, Exchange: k.exchange, Topic: k.topic, Server: k.server, Priority: k.priority, Pool: k.pool}
	if k.kind == driver.SourceReplies {
		t.Server, t.Reply = "", k.server
	}
	return t
}

// String names the key in errors.
func (k key) String() string {
	switch k.kind {
	case driver.SourceReplies:
		return "reply name " + k.server
	case driver.SourceNotifications:
		return "notifications of " + k.exchange + "/" + k.topic + "." + k.priority
	default:
		if k.server != "" {
			return "server " + k.server + " of topic " + k.exchange + "/" + k.topic
		}
		return "topic " + k.exchange + "/" + k.topic
	}
}

// routes is who listens to what. It is made anew when a record changes.
type routes struct {
	to     map[key][]*peer
	pools  map[key][]string
	legacy bool // there are peers of 8.x
	turn   uint64
}

func newRoutes() routes {
	return routes{to: make(map[key][]*peer), pools: make(map[key][]string)}
}

// reroute builds the routes from the peers' records, and looks who can go now.
func (n *Node) reroute() {
	r := newRoutes()
	r.turn = n.routes.turn
	now := time.Now()
	for _, p := range n.peers {
		if p.record == nil || p.gone && !p.local {
			continue
		}
		r.to[p.key()] = []*peer{p}
		r.legacy = r.legacy || p.record.Legacy
		seen := make(map[key]bool, 2*len(p.record.Targets))
		for _, t := range p.record.Targets {
			for _, k := range keysOf(t) {
				if seen[k] {
					continue
				}
				seen[k] = true
				r.to[k] = append(r.to[k], p)
				if k.kind == driver.SourceNotifications {
					topic := k
					topic.pool = ""
					r.pools[topic] = appendNew(r.pools[topic], k.pool)
				}
			}
			if t.Kind == driver.SourceReplies {
				n.replies[t.Reply] = now
			}
		}
	}
	n.routes = r
	if n.spool != nil {
		signal(n.spool.wake)
	}
	n.retryAll()
}

func appendNew(list []string, s string) []string {
	for _, have := range list {
		if have == s {
			return list
		}
	}
	return append(list, s)
}

// candidates are those who listen to k. Peers of 8.x know no exchanges.
func (n *Node) candidates(k key) []*peer {
	all := n.routes.to[k]
	if !n.routes.legacy || k.exchange == "" {
		return all
	}
	k.exchange = ""
	return slices.Concat(all, n.routes.to[k])
}

// pick returns who is given the parcel, or nil when nobody can take it now: in turn, of two the
// one with less to do.
func (n *Node) pick(pc *parcel, now time.Time) *peer {
	all := n.candidates(pc.to)
	if len(all) == 0 {
		return nil
	}
	n.routes.turn++
	var first *peer
	for i := range all {
		p := all[(n.routes.turn+uint64(i))%uint64(len(all))]
		if !n.usable(p, pc, now) {
			continue
		}
		if first == nil {
			first = p
			continue
		}
		if p.burden() < first.burden() {
			return p
		}
		return first
	}
	return first
}

// usable reports whether p can be given pc now. A peer without a link is asked for one.
func (n *Node) usable(p *peer, pc *parcel, now time.Time) bool {
	if pc.avoid == p && now.Before(pc.again) {
		return false
	}
	if p.local {
		return true
	}
	if len(p.links) == 0 {
		p.wanted = true
		if !p.dialling {
			signal(n.meshes)
		}
		return false
	}
	return p.unanswered < n.o.Window
}

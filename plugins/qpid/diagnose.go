// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/qpid/internal/address"
)

var _ driver.Diagnoser = (*conn)(nil)

// Diagnose implements driver.Diagnoser. Nodes that a broker makes for what is tried here have random
// names that start with parley-doctor-; few brokers remove them by themselves.
func (c *conn) Diagnose(ctx context.Context) ([]driver.Finding, error) {
	s, cause := c.link.Await(ctx, false)
	if s == nil {
		return nil, cause
	}
	d := &diagnosis{c: c, s: s, topic: "parley-doctor-" + strings.ToLower(rand.Text())}
	d.product()
	d.security()
	d.limits()
	d.nodes(ctx)
	return d.findings, nil
}

// diagnosis gathers what is found out about one session.
type diagnosis struct {
	c        *conn
	s        *session
	topic    string // of the targets that are tried
	findings []driver.Finding
}

func (d *diagnosis) fact(topic, format string, args ...any) {
	d.findings = append(d.findings, driver.Finding{Topic: topic, Detail: fmt.Sprintf(format, args...)})
}

func (d *diagnosis) flaw(topic, hint, format string, args ...any) {
	d.findings = append(d.findings, driver.Finding{Topic: topic, Detail: fmt.Sprintf(format, args...), Flaw: true, Hint: hint})
}

// product is what the peer says of itself, and what follows from it.
func (d *diagnosis) product() {
	name := foreign(d.s.product)
	if name == "" {
		name = "a peer that does not tell its product"
	}
	if version := d.s.peer.Properties["version"]; version != "" {
		name += " " + foreign(version)
	}
	d.fact("product", "%s at %s", name, d.s.host)
	d.fact("addressing", "%s: %s", d.s.addr.Mode, d.s.addr.Why)
	switch {
	case !d.s.relay:
		d.fact("relay", "no anonymous relay: the answers to each client have a link of their own")
	case d.s.fragileRelay():
		d.fact("relay", "an anonymous relay, which is used beyond %d clients: this peer closes it over an answer to a client that is gone", fewAnswerLanes)
	default:
		d.fact("relay", "an anonymous relay, which all answers go by")
	}
}

// security is TLS and the login.
func (d *diagnosis) security() {
	if secure, ok := d.s.socket.Conn.(*tls.Conn); ok {
		state := secure.ConnectionState()
		d.fact("tls", "%s, %s", tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite))
	} else if isLoopback(d.s.socket.RemoteAddr()) {
		d.fact("tls", "none: clear text within this machine")
	} else {
		d.flaw("tls", "set ssl=true, and ssl_ca_file to the certificate of the broker's authority", "none: everything crosses the network in clear text")
	}
	var used []string
	for _, h := range d.c.set.hosts {
		if h.Address(defaultPort) == d.s.host {
			used = d.c.set.login.forHost(h)
			break
		}
	}
	offered := make([]string, 0, len(d.s.peer.Mechanisms))
	for _, m := range d.s.peer.Mechanisms {
		offered = append(offered, foreign(m))
	}
	if len(used) == 0 {
		d.fact("login", "none, without a SASL layer: the URL has no user")
		return
	}
	for _, m := range offered { // the peer's order decides
		if slices.Contains(used, m) {
			d.fact("login", "SASL %s; the peer offers %s", m, strings.Join(offered, ", "))
			return
		}
	}
	d.fact("login", "SASL; the peer offers %s", strings.Join(offered, ", "))
}

// limits are those of the peer's open frame.
func (d *diagnosis) limits() {
	p := d.s.peer
	frame := fmt.Sprintf("frames of up to %d bytes", p.MaxFrameSize)
	if p.MaxFrameSize == 1<<32-1 {
		frame = "frames of any size"
	}
	idle := "no idle timeout"
	if p.IdleTimeout > 0 {
		idle = fmt.Sprintf("an idle timeout of %v", p.IdleTimeout)
	}
	d.fact("limits", "%d sessions a connection, %s, %s", int(p.ChannelMax)+1, frame, idle)
}

// trialTimeout bounds each trial.
const trialTimeout = 5 * time.Second

// nodes tries what messages go to.
func (d *diagnosis) nodes(ctx context.Context) {
	target := driver.Target{Exchange: d.c.set.addresses.DefaultExchange, Topic: d.topic}
	server, all := target, target
	server.Server, all.Fanout = "doctor", true
	for _, t := range []struct {
		topic, what string
		m           *driver.Message
	}{
		{"any server", "calls and casts to any server of a topic", &driver.Message{Kind: driver.Cast, Target: target}},
		{"one server", "calls and casts to one server", &driver.Message{Kind: driver.Cast, Target: server}},
		{"fanout", "casts to all servers of a topic", &driver.Message{Kind: driver.Cast, Target: all}},
		{"notifications", "notifications", &driver.Message{Kind: driver.Notification, Target: target, Priority: "info"}},
	} {
		node := address.NodeOf(t.m)
		copies := 1
		if node == address.Multicast {
			copies = 2
		}
		to := d.s.addr.Message(t.m)
		if err := d.c.try(ctx, d.s, trial{to: to, capabilities: d.s.addr.Capabilities(node), copies: copies}); err != nil {
			d.flaw(t.topic, d.policyHint(), "%s cannot be sent and received: %s", t.what, err.Message)
			continue
		}
		d.fact(t.topic, "%s can be sent and received: %s", t.what, to)
	}
	if err := d.c.try(ctx, d.s, trial{dynamic: true, copies: 1}); err != nil {
		d.flaw("replies", "callers use a reply address with a name instead, which the broker has to make: see the others\n"+d.policyHint(),
			"the peer makes no reply addresses (dynamic nodes): %s", err.Message)
		return
	}
	d.fact("replies", "the peer makes reply addresses (dynamic nodes)")
}

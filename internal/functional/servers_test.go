// SPDX-License-Identifier: Apache-2.0

package functional

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/plugin/driver"
)

// pings is an endpoint that remembers what it was asked, and by which server it was reached.
type pings struct {
	mu  sync.Mutex // guards got
	got []string
}

func (p *pings) endpoint() *messaging.Endpoint {
	ep := messaging.NewEndpoint(nil)
	ep.HandleFunc("ping", func(_ context.Context, args map[string]any) (any, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.got = append(p.got, args["arg"].(string))
		return nil, nil
	})
	ep.HandleFunc("alive", func(context.Context, map[string]any) (any, error) { return "alive", nil })
	return ep
}

// sorted returns what has come, in an order of its own: casts have none.
func (p *pings) sorted() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(slices.Sorted(slices.Values(p.got)), " ")
}

// pair is one scenario of TestMultipleServers: two servers and two clients.
type pair struct {
	exchanges, topics, servers [2]string
	how                        string // call, cast or fanout
	shared                     bool   // one endpoint for both servers
}

// pairs are upstream's 36 scenarios: a topic and server twice, and a call to all, are left out.
func pairs() []pair {
	var all []pair
	for _, exchanges := range [][2]string{{"", ""}, {"x1", "x2"}} {
		for _, topics := range [][2]string{{"t", "t"}, {"t1", "t2"}} {
			for _, servers := range [][2]string{{"", ""}, {"s1", "s2"}} {
				for _, how := range []string{"call", "cast", "fanout"} {
					for _, shared := range []bool{true, false} {
						if topics[0] != topics[1] || servers[0] != servers[1] {
							all = append(all, pair{exchanges, topics, servers, how, shared})
						}
					}
				}
			}
		}
	}
	return all
}

func (p pair) String() string {
	word := func(pair [2]string, what string) string {
		if pair[0] == pair[1] {
			return "same " + what
		}
		return "other " + what
	}
	endpoints := "two endpoints"
	if p.shared {
		endpoints = "one endpoint"
	}
	return strings.Join([]string{word(p.exchanges, "exchange"), word(p.topics, "topic"), word(p.servers, "server"), p.how, endpoints}, ", ")
}

// target is where server i listens and client i sends. Each scenario has topics of its own.
func (p pair) target(number, i int) messaging.Target {
	return messaging.Target{Exchange: p.exchanges[i], Topic: fmt.Sprint(p.topics[i], ".", number), Server: p.servers[i]}
}

// want is what each endpoint gets. A fanout reaches both servers where they share a topic, and
// an exchange as well if the driver keeps fanouts within one.
func (p pair) want(unscoped bool) [2]string {
	heard := [2][]string{{"1"}, {"2"}}
	if p.how == "fanout" && p.topics[0] == p.topics[1] && (unscoped || p.exchanges[0] == p.exchanges[1]) {
		heard = [2][]string{{"1", "2"}, {"1", "2"}}
	}
	if p.shared {
		both := slices.Sorted(slices.Values(slices.Concat(heard[0], heard[1])))
		heard = [2][]string{both, both}
	}
	return [2]string{strings.Join(heard[0], " "), strings.Join(heard[1], " ")}
}

// TestMultipleServers is TestMultipleServers in oslo_messaging/tests/rpc/test_server.py, on real
// drivers and with the fanout of rabbit crossing exchanges, as upstream's does.
func TestMultipleServers(t *testing.T) {
	onWires(t, func(t *testing.T, w *world) {
		tr, other := w.open(t, messaging.Options{}), w.open(t, messaging.Options{})
		unscoped := tr.Info().Has(driver.CapUnscopedFanout)
		if unscoped != w.topicsCross() {
			t.Errorf("%s says of its fanout that it crosses exchanges: %t", w.driver, unscoped)
		}
		if all := pairs(); len(all) != 36 {
			t.Errorf("%d scenarios", len(all))
		}
		for number, p := range pairs() {
			t.Run(p.String(), func(t *testing.T) {
				second := tr
				if p.exchanges[0] != p.exchanges[1] {
					second = other
				}
				testPair(t, p, number, [2]*messaging.Transport{tr, second}, p.want(unscoped))
			})
		}
	})
}

func testPair(t *testing.T, p pair, number int, transports [2]*messaging.Transport, want [2]string) {
	heard := [2]*pings{{}, {}}
	if p.shared {
		heard[1] = heard[0]
	}
	var clients, servers [2]*messaging.RPCClient
	for i, tr := range transports {
		target := p.target(number, i)
		clients[i] = client(tr, target)
		if target.Server == "" {
			target.Server = "server"
		}
		serve(t, tr, target, nil, heard[i].endpoint())
		servers[i] = client(tr, target)
	}
	for i, c := range clients {
		args := map[string]any{"arg": strconv.Itoa(i + 1)}
		var err error
		switch p.how {
		case "call":
			err = c.Call(soon(t), "ping", args, nil)
		case "cast":
			err = c.Cast(soon(t), "ping", args)
		case "fanout":
			err = c.With(messaging.Fanout()).Cast(soon(t), "ping", args)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range heard {
		testbed.Eventually(t, patience, fmt.Sprintf("endpoint %d gets %q", i+1, want[i]), func() bool { return len(heard[i].sorted()) >= len(want[i]) })
		if err := servers[i].Call(soon(t), "alive", nil, nil); err != nil {
			t.Error(err)
		}
	}
	for i := range heard {
		if got := heard[i].sorted(); got != want[i] {
			t.Errorf("endpoint %d got %q, want %q", i+1, got, want[i])
		}
	}
}

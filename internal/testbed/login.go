// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"crypto/rand"
	"errors"
	"strings"
	"testing"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/plugin/driver"
)

// Login is a server that asks the drivers of a wire for a password, and a user of it that is a
// test's own. Where there is no broker it is what nodes find each other by.
type Login struct {
	// Scheme begins a transport URL, Path and Query end it; Query may be empty.
	Scheme, Path, Query string
	User                string
	Addr                string
	// Missing is the path and query of a virtual host that is not there; empty where there are none.
	Missing string
}

// Login returns one with that password.
func (w *Wire) Login(tb testing.TB, password string) *Login {
	tb.Helper()
	return w.login(tb, password)
}

// HasOption reports whether the driver has an option of that name.
func (w *Wire) HasOption(name string) bool {
	for _, o := range w.Info.Options {
		if o.Name == name {
			return true
		}
	}
	return false
}

// OptionOf returns the name of one of the driver's options of that type; the test ends if it has none.
func (w *Wire) OptionOf(tb testing.TB, kind driver.OptionType) string {
	tb.Helper()
	for _, o := range w.Info.Options {
		if o.Type == kind {
			return o.Name
		}
	}
	tb.Fatalf("the driver %s has no option of the type %v", w.Info.Name, kind)
	return ""
}

// plantedUser is the name of a user that no other test has.
func plantedUser() string { return "planted-" + strings.ToLower(rand.Text()[:8]) }

func (b *Bed) loginRabbit(tb testing.TB, password string) *Login {
	tb.Helper()
	broker, user := b.Broker(tb), plantedUser()
	vhost := broker.NewVhost(tb)
	if err := errors.Join(broker.AddUser(tb.Context(), user, password), broker.Allow(tb.Context(), user, vhost)); err != nil {
		tb.Fatal(err)
	}
	return &Login{Scheme: "rabbit", User: user, Addr: broker.Addr(), Path: "/" + vhost, Missing: "/no-such"}
}

// loginBrokerJ starts a Broker-J: users are made when it starts.
func (b *Bed) loginBrokerJ(tb testing.TB, password string) *Login {
	tb.Helper()
	b.BrokerJ(tb) // fails or skips where there is none
	user := plantedUser()
	broker := peertest.RunBrokerJ(tb, &peertest.BrokerJOptions{Users: map[string]string{user: password}})
	return &Login{Scheme: "qpid", User: user, Addr: broker.PlainAddr(), Path: "/planted", Missing: "/no-such?pseudo_vhost=false"}
}

// loginRedis starts a Redis with a password, which every user of it has.
func (b *Bed) loginRedis(tb testing.TB, password string) *Login {
	tb.Helper()
	server := peertest.RunRedis(tb, &peertest.RedisOptions{Password: password})
	return &Login{Scheme: "zmq+redis", User: "default", Addr: server.Addr(), Path: "/planted", Query: "rpc_zmq_bind_address=127.0.0.1"}
}

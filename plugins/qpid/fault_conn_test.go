// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/testkit"
	"github.com/parleymq/parley/plugins/qpid/internal/scripted"
)

// secret is a password that must be seen nowhere.
const secret = "s3cr3t-of-the-test"

func withUser(cfg *driver.Config) {
	for i := range cfg.Hosts {
		cfg.Hosts[i].User, cfg.Hosts[i].Password = "guest", secret
		cfg.Hosts[i].HasUser, cfg.Hosts[i].HasPassword = true, true
	}
}

// toHosts makes a Config one for several peers.
func toHosts(t *testing.T, peers ...*scripted.Peer) func(*driver.Config) {
	return func(cfg *driver.Config) {
		cfg.Hosts = nil
		for _, p := range peers {
			name, port, err := net.SplitHostPort(p.Addr())
			if err != nil {
				t.Fatal(err)
			}
			n, err := strconv.Atoi(port)
			if err != nil {
				t.Fatal(err)
			}
			cfg.Hosts = append(cfg.Hosts, driver.Host{Name: name, Port: n})
		}
	}
}

// TestFaultNotOpened is each way not to open a connection: the error says what was wrong. What waiting
// does not heal fails at once.
func TestFaultNotOpened(t *testing.T) {
	t.Parallel()
	refuse := func(string, []byte) byte { return 1 }
	for _, tt := range []struct {
		name   string
		peer   scripted.Options
		opts   map[string]string
		change func(*driver.Config)
		reason driver.Reason
		atOnce bool
		texts  []string
	}{
		{"garbage", scripted.Options{Greeting: []byte("HTTP/1.1 400 Bad Request\r\n\r\n")}, nil, nil, driver.ReasonNotConnected, false, []string{"no AMQP", "HTTP/1.1"}},
		{"short garbage", scripted.Options{Greeting: []byte("no")}, nil, nil, driver.ReasonNotConnected, false, nil},
		{"AMQP 0-9-1", scripted.Options{Greeting: []byte("AMQP\x00\x00\x09\x01")}, nil, nil, driver.ReasonNotConnected, false, []string{"0-9-1"}},
		{"AMQP 2", scripted.Options{Greeting: []byte("AMQP\x00\x02\x00\x00")}, nil, nil, driver.ReasonNotConnected, false, []string{"version"}},
		{"TLS in AMQP", scripted.Options{Greeting: []byte("AMQP\x02\x01\x00\x00")}, nil, nil, driver.ReasonUnsupported, false, []string{"TLS", "ssl"}},
		{"SASL wanted", scripted.Options{RequireSASL: true}, nil, nil, driver.ReasonAuthRefused, true, []string{"wants a login"}},
		{"wrong password", scripted.Options{Login: refuse}, nil, withUser, driver.ReasonAuthRefused, true, []string{"guest"}},
		{"login is out of order", scripted.Options{Login: func(string, []byte) byte { return 2 }}, nil, withUser, driver.ReasonAuthRefused, true, []string{"guest"}},
		{"login is busy", scripted.Options{Login: func(string, []byte) byte { return 4 }}, nil, withUser, driver.ReasonNotConnected, false, nil},
		{"other mechanisms", scripted.Options{Mechanisms: []string{"GSSAPI", "SCRAM-SHA-256"}}, nil, withUser, driver.ReasonAuthRefused, true, []string{"GSSAPI", "PLAIN"}},
		{"no mechanisms", scripted.Options{Mechanisms: []string{}}, nil, withUser, driver.ReasonAuthRefused, true, nil},
		{"unknown virtual host", scripted.Options{CloseAfterOpen: &scripted.Error{Condition: scripted.NotFound, Description: "unknown host nova"}},
			map[string]string{optPseudoVhost: "false"}, func(cfg *driver.Config) { cfg.VirtualHost = "nova" }, driver.ReasonVirtualHostMissing, true, []string{"nova"}},
		{"not allowed", scripted.Options{CloseAfterOpen: enough(scripted.Unauthorized)}, nil, withUser, driver.ReasonAuthRefused, true, []string{"had enough", "guest"}},
		{"closed behind the open", scripted.Options{CloseAfterOpen: enough(scripted.ConnectionForced)}, nil, nil, driver.ReasonNotConnected, false, []string{"had enough"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := atPeer(t, scripted.Run(t, tt.peer), tt.opts, tt.change)
			wait := patience
			if !tt.atOnce {
				wait = time.Second
			}
			started := time.Now()
			e := f.fails(testkit.Within(t, wait), testkit.Cast(1), tt.reason, tt.texts...)
			if took := time.Since(started); tt.atOnce && took > patience/2 || !tt.atOnce && took < wait-100*time.Millisecond {
				t.Errorf("it took %v", took)
			}
			wantDoubt(t, e, false)
			quick := testkit.Cast(2)
			quick.FailFast = true
			wantDoubt(t, f.fails(soon(t), quick, tt.reason), false) // SEND-10
			_, err := f.conn.Listen(testkit.Within(t, wait), testkit.Server("s1", driver.SettleOnPoll))
			checkError(t, err, tt.reason, tt.texts...)
			last := f.st.Last()
			said := fmt.Sprint(f.st, e, f.logs)
			if last.Phase != driver.Connecting || driver.ReasonOf(last.Err) != tt.reason {
				t.Errorf("the state is %v (STATE-1)", last)
			}
			if strings.Contains(said, secret) {
				t.Error("the password is told (OPEN-4)")
			}
		})
	}
}

// TestFaultLoggedIn is what the driver sends to log in.
func TestFaultLoggedIn(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var seen []string
	p := scripted.Run(t, scripted.Options{RequireSASL: true, Login: func(mechanism string, response []byte) byte {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, mechanism+" "+string(response))
		return 0
	}})
	f := atPeer(t, p, nil, withUser)
	f.sends(testkit.Cast(1))
	mu.Lock()
	defer mu.Unlock()
	if want := []string{"PLAIN \x00guest\x00" + secret}; !slices.Equal(seen, want) {
		t.Errorf("the login is %q, want %q", seen, want)
	}
	if strings.Contains(f.logs.String(), secret) {
		t.Error("the password is in the log")
	}
}

// TestFaultSlowOpen is a peer that takes its time, and one that takes for ever.
func TestFaultSlowOpen(t *testing.T) {
	t.Parallel()
	t.Run("slow", func(t *testing.T) {
		t.Parallel()
		f := newFaults(t, scripted.Options{OpenDelay: time.Second}, nil)
		started := time.Now()
		f.sends(testkit.Cast(1))
		if took := time.Since(started); took < 900*time.Millisecond {
			t.Errorf("it took %v", took)
		}
	})
	t.Run("too slow for the message", func(t *testing.T) {
		t.Parallel()
		f := newFaults(t, scripted.Options{OpenDelay: 3 * time.Second}, nil)
		wantDoubt(t, f.fails(testkit.Within(t, 500*time.Millisecond), testkit.Cast(1), driver.ReasonNotConnected, "not connected yet"), false)
		f.sends(testkit.Cast(2))
		if n := len(f.peer.Messages(toAny)); n != 1 {
			t.Errorf("%d messages were sent, want the second", n)
		}
	})
	t.Run("for ever", func(t *testing.T) {
		t.Parallel()
		f := newFaults(t, scripted.Options{OpenDelay: time.Hour}, nil)
		e := f.fails(testkit.Within(t, dialTimeout+3*time.Second), testkit.Cast(1), driver.ReasonNotConnected, "did not answer the opening", f.peer.Addr())
		wantDoubt(t, e, false)
	})
}

// TestFaultSilentPeer is one that stops answering: the idle timeout finds it, what is under way is in
// doubt, and everything goes on at the next connection.
func TestFaultSilentPeer(t *testing.T) {
	t.Parallel()
	f := newFaults(t, scripted.Options{}, map[string]string{optIdleTimeout: "1"})
	l := f.server(driver.SettleOnPoll)
	f.sends(testkit.Cast(1))
	testkit.Poll(soon(t), t, l, 1, 1)
	n := f.st.Len()
	f.peer.Mute(true)
	m := testkit.Cast(2)
	started := time.Now()
	e := f.fails(soon(t), m, driver.ReasonNotConnected)
	wantDoubt(t, e, true)
	if took := time.Since(started); took < 300*time.Millisecond || took > patience/2 {
		t.Errorf("it took %v", took)
	}
	lost := f.st.Await(t, n, driver.Connecting)
	t.Logf("state: %v", lost)
	f.peer.Mute(false)
	f.st.Await(t, n, driver.Ready)
	f.sends(testkit.Cast(3))
	if n := f.transfers(toAny, m.UniqueID); n != 1 {
		t.Errorf("%d transfers, want 1", n)
	}
}

// TestFaultIdleTimeoutOfThePeer is the other way round: the driver says something often enough.
func TestFaultIdleTimeoutOfThePeer(t *testing.T) {
	t.Parallel()
	f := newFaults(t, scripted.Options{IdleTimeout: 2 * time.Second}, nil)
	f.sends(testkit.Cast(1))
	for range 3 {
		n := len(f.peer.Events())
		f.happens(n, "an empty frame", func(e scripted.Event) bool { return e.Name == "empty" })
	}
	f.sends(testkit.Cast(2))
	if n := len(f.peer.Named("connect")); n != 1 {
		t.Errorf("there were %d connections", n)
	}
}

// TestFaultCutBeforeTheOutcome is a connection that is lost between messages and their outcomes: they are
// in doubt, and none is sent again by the next connection.
func TestFaultCutBeforeTheOutcome(t *testing.T) {
	t.Parallel()
	f := newFaults(t, scripted.Options{}, nil)
	f.sends(testkit.Cast(0))
	f.peer.OnMessage(toAny, append(scripted.Times(4, scripted.Action{Do: scripted.Ignore}), scripted.Action{Do: scripted.Cut})...)
	batch, results := f.queued(5)
	started := time.Now()
	for range batch {
		err := <-results
		wantDoubt(t, wantError(t, err, driver.ReasonNotConnected, "connection was lost", toAny), true)
	}
	t.Logf("in doubt after %v", time.Since(started).Round(time.Millisecond))
	f.sends(testkit.Cast(6))
	for _, m := range batch {
		if n := f.transfers(toAny, m.UniqueID); n != 1 {
			t.Errorf("%d transfers of a message in doubt, want 1", n)
		}
	}
	if n := len(f.peer.Named("connect")); n != 2 {
		t.Errorf("there were %d connections, want 2", n)
	}
	if n := len(f.peer.Stored(toAny)); n != 7 {
		t.Errorf("%d are stored, want 7", n)
	}
}

// TestFaultPendingOverTheNextConnection is the other half: what has not left goes on, once.
func TestFaultPendingOverTheNextConnection(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(*scripted.Peer){
		"cut":    func(p *scripted.Peer) { p.CutAll() },
		"closed": func(p *scripted.Peer) { p.CloseConns(enough(scripted.ConnectionForced)) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFaults(t, scripted.Options{}, nil)
			f.peer.HoldCredit(toAny, true)
			batch, results := f.queued(5)
			f.link(0, toAny)
			n := f.st.Len()
			fault(f.peer)
			f.st.Await(t, n, driver.Ready)
			f.peer.HoldCredit(toAny, false)
			for range batch {
				if err := <-results; err != nil {
					t.Error(err)
				}
			}
			for _, m := range batch {
				if n := f.transfers(toAny, m.UniqueID); n != 1 {
					t.Errorf("%d transfers, want 1", n)
				}
			}
		})
	}
}

// TestFaultFailOver is the loss of one of two peers: links and calls go on at the other.
func TestFaultFailOver(t *testing.T) {
	t.Parallel()
	peers := []*scripted.Peer{scripted.Run(t, scripted.Options{}), scripted.Run(t, scripted.Options{Product: "apache-activemq-artemis"})}
	f := atPeer(t, peers[0], nil, toHosts(t, peers...))
	l := f.server(driver.SettleOnPoll)
	back := listen(t, f.conn, testkit.Replies("r"))
	first := f.st.Await(t, 0, driver.Ready)
	at := slices.IndexFunc(peers, func(p *scripted.Peer) bool { return p.Addr() == first.Host })
	if at < 0 {
		t.Fatalf("connected to %q", first.Host)
	}
	f.sends(testkit.Cast(1))
	testkit.Poll(soon(t), t, l, 1, 1)

	n, started := f.st.Len(), time.Now()
	peers[at].Close()
	second := f.st.Await(t, n, driver.Ready)
	t.Logf("over at %s after %v", second.Host, time.Since(started).Round(time.Millisecond))
	f.peer = peers[1-at]
	if second.Host != f.peer.Addr() {
		t.Fatalf("connected to %q", second.Host)
	}
	f.happens(0, "the reply link comes first", func(e scripted.Event) bool { return e.Name == "attach" && e.Attach.Dynamic })
	f.sends(testkit.Cast(2))
	testkit.Poll(soon(t), t, l, 1, 1)
	m := testkit.Call("r")
	f.sends(m)
	if ds := testkit.Poll(soon(t), t, l, 1, 1); ds[0].CallID != m.CallID {
		t.Errorf("delivered %+v", ds[0])
	}
	_ = back
	// Addresses follow the product of each.
	var addresses []string
	for _, e := range f.peer.Named("attach") {
		addresses = append(addresses, e.Attach.Address)
	}
	if routable := 1-at == 1; strings.Contains(strings.Join(addresses, " "), "openstack.org/om/rpc/") != routable {
		t.Errorf("the addresses are %q", addresses)
	}
}

// TestFaultFirstHostAway is a list of hosts of which not all work.
func TestFaultFirstHostAway(t *testing.T) {
	t.Parallel()
	for _, bad := range []scripted.Options{
		{Greeting: []byte("SSH-2.0-OpenSSH_9.2\r\n")}, {CloseAfterOpen: enough(scripted.ConnectionForced)}, {RequireSASL: true},
	} {
		p := scripted.Run(t, scripted.Options{})
		f := atPeer(t, p, nil, toHosts(t, scripted.Run(t, bad), p))
		f.sends(testkit.Cast(1))
	}
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/testkit"
	"github.com/parleymq/parley/plugins/internal/uplink"
	"github.com/parleymq/parley/plugins/qpid/internal/address"
)

// startLink starts a link that ends with the test.
func startLink(t testing.TB, set *settings) *link {
	t.Helper()
	l := newLink(set, uplink.NewStates(set.report))
	l.Start()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		l.Stop(ctx)
	})
	return l
}

// connected waits for a session.
func connected(t testing.TB, l *link) *session {
	t.Helper()
	s, cause := l.Await(soon(t), true)
	if s == nil {
		t.Fatalf("not connected: %v", cause)
	}
	return s
}

// TestBrokerJLogins: each port has its login, over TLS and without.
func TestBrokerJLogins(t *testing.T) {
	authority := peertest.NewAuthority(t, "ca")
	files := authority.Issue(peertest.Issued{Name: "broker", Hosts: []string{"localhost", "default", "nowhere"}})
	client := authority.Issue(peertest.Issued{Name: "client"})
	other := peertest.NewAuthority(t, "other").Issue(peertest.Issued{Name: "other"})
	b := peertest.RunBrokerJ(t, &peertest.BrokerJOptions{TLS: files})
	ca := map[string]string{"ssl_ca_file": authority.File()}
	locked, passphrase := lockedKey(t, client.Key)
	user, password := peertest.BrokerJUser, peertest.BrokerJPassword
	for _, tt := range []struct {
		name    string
		addr    string
		host    string // instead of localhost
		user    string
		wrong   bool // the password
		vhost   string
		options []map[string]string
		reason  driver.Reason // "" for a connection
		want    string
	}{
		{name: "no login", addr: b.Addr()},
		{name: "ANONYMOUS", addr: b.Addr(), options: []map[string]string{{"sasl_mechanisms": "ANONYMOUS"}}},
		{name: "PLAIN in the clear on this machine", addr: b.PlainAddr(), user: user},
		{name: "PLAIN restricted", addr: b.PlainAddr(), user: user, options: []map[string]string{{"sasl_mechanisms": "plain"}}},
		{name: "a wrong password", addr: b.PlainAddr(), user: user, wrong: true, reason: driver.ReasonAuthRefused, want: `refused the login of user "` + user + `"`},
		{name: "an unknown realm", addr: b.PlainAddr(), user: user, options: []map[string]string{{"sasl_default_realm": "r"}}, reason: driver.ReasonAuthRefused, want: `user "` + user + `@r"`},
		{name: "no user", addr: b.PlainAddr(), reason: driver.ReasonAuthRefused, want: "wants a login, and the URL has no user"},
		{name: "a user for the anonymous", addr: b.Addr(), user: user, reason: driver.ReasonAuthRefused, want: "offers ANONYMOUS to log in with, and not PLAIN; set sasl_mechanisms to one of ANONYMOUS"},
		{name: "ANONYMOUS where users are", addr: b.PlainAddr(), options: []map[string]string{{"sasl_mechanisms": "ANONYMOUS"}}, reason: driver.ReasonAuthRefused, want: "PLAIN"},

		{name: "TLS by the authority", addr: b.TLSAddr(), options: []map[string]string{ca}},
		{name: "TLS by ssl", addr: b.TLSAddr(), options: []map[string]string{ca, {"ssl": "true"}}},
		{name: "PLAIN over TLS", addr: b.PlainTLSAddr(), user: user, options: []map[string]string{ca}},
		{name: "another authority", addr: b.TLSAddr(), options: []map[string]string{{"ssl_ca_file": other.CA}}, reason: driver.ReasonTLSFailed, want: "signed by an authority that is not known"},
		{name: "the system's authorities", addr: b.TLSAddr(), options: []map[string]string{{"ssl": "true"}}, reason: driver.ReasonTLSFailed, want: "name the file of the authority's certificate in ssl_ca_file"},
		{name: "another host", addr: b.TLSAddr(), host: "127.0.0.1", options: []map[string]string{ca}, reason: driver.ReasonTLSFailed, want: `is not for the host "127.0.0.1" but for localhost, default, nowhere; write one of these names into the URL, or get a certificate for this one; ssl_verify_vhost=true compares the virtual host`},
		{name: "the virtual host's name", addr: b.TLSAddr(), host: "127.0.0.1", vhost: "default", options: []map[string]string{ca, {"ssl_verify_vhost": "true"}}},
		{name: "another virtual host", addr: b.TLSAddr(), vhost: "v2", options: []map[string]string{ca, {"ssl_verify_vhost": "true"}}, reason: driver.ReasonTLSFailed, want: `is not for the host "v2"`},
		{name: "the name of the handshake", addr: b.TLSAddr(), host: "127.0.0.1", vhost: "nowhere", options: []map[string]string{ca, {"ssl_verify_vhost": "true"}}, reason: driver.ReasonVirtualHostMissing, want: `has no virtual host "nowhere": Unknown hostname in connection open: 'nowhere' (amqp:not-found); the peer takes the name of the TLS handshake for its virtual host`},
		{name: "no TLS on its port", addr: b.TLSAddr(), reason: driver.ReasonNotConnected, want: "ssl=true"},
		{name: "TLS on another port", addr: b.Addr(), options: []map[string]string{ca}, reason: driver.ReasonTLSFailed, want: "no TLS"},

		{name: "EXTERNAL", addr: b.ExternalAddr(), options: []map[string]string{ca, certificate(client), {"sasl_mechanisms": "EXTERNAL"}}},
		{name: "EXTERNAL with a locked key", addr: b.ExternalAddr(), options: []map[string]string{ca, certificate(client), {"ssl_key_file": locked, "ssl_key_password": passphrase, "sasl_mechanisms": "EXTERNAL"}}},
		{name: "no certificate", addr: b.ExternalAddr(), options: []map[string]string{ca, {"sasl_mechanisms": "ANONYMOUS EXTERNAL"}}, reason: driver.ReasonTLSFailed, want: "wants a client certificate"},
		{name: "a certificate of another", addr: b.ExternalAddr(), options: []map[string]string{ca, certificate(other), {"sasl_mechanisms": "EXTERNAL"}}, reason: driver.ReasonTLSFailed, want: "ssl_cert_file"},

		{name: "a virtual host of the broker", addr: b.Addr(), vhost: "default", options: []map[string]string{{"pseudo_vhost": "false"}}},
		{name: "no virtual host of the broker", addr: b.Addr(), vhost: "nowhere", options: []map[string]string{{"pseudo_vhost": "false"}}, reason: driver.ReasonVirtualHostMissing, want: `has no virtual host "nowhere"`},
		{name: "a part of the addresses", addr: b.Addr(), vhost: "nowhere"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := hostAt(t, tt.addr, tt.user, password)
			h.Name = "localhost"
			if tt.host != "" {
				h.Name = tt.host
			}
			if tt.wrong {
				h.Password = dialPassword
			}
			options := map[string]string{}
			for _, some := range tt.options {
				for name, value := range some {
					options[name] = value
				}
			}
			set := settingsFor(t, h, tt.vhost, options)
			s, err := dial(soon(t), set, h)
			if s != nil {
				defer s.Close(time.Now().Add(patience))
			}
			if tt.reason == "" {
				if err != nil {
					t.Fatal(err)
				}
				if !strings.HasPrefix(s.product, "Apache Qpid Broker-J") || !s.relay || s.addr.Mode != address.Legacy || s.peer.ChannelMax != 255 {
					t.Errorf("product %q, relay %t, mode %s, %+v", s.product, s.relay, s.addr.Mode, s.peer)
				}
				return
			}
			if err == nil {
				t.Fatal("it is connected")
			}
			if err.Reason != tt.reason || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s: %q", err, tt.reason, tt.want)
			}
			if strings.Contains(err.Error(), dialPassword) || strings.Contains(err.Error(), passphrase) {
				t.Errorf("a password: %v", err)
			}
		})
	}
	t.Run("a wrong passphrase", func(t *testing.T) {
		values, err := driver.ValidateOptions(optionSpecs(), map[string]string{"ssl_cert_file": client.Cert, "ssl_key_file": locked, "ssl_key_password": "other"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err = newSettings(driver.Config{Options: values}); driver.ReasonOf(err) != driver.ReasonConfig || !strings.Contains(err.Error(), "the key cannot be unlocked") {
			t.Errorf("got %v", err)
		}
	})
}

func certificate(f *peertest.TLSFiles) map[string]string {
	return map[string]string{"ssl_cert_file": f.Cert, "ssl_key_file": f.Key}
}

// lockedKey writes the key locked as old OpenSSL did. tlspeer tests the other way.
func lockedKey(t *testing.T, file string) (name, passphrase string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	passphrase = "S3cr3t-passphrase"
	//nolint:staticcheck // operators have such files
	locked, err := x509.EncryptPEMBlock(fixedRandom{}, "PRIVATE KEY", der, []byte(passphrase), x509.PEMCipherAES256)
	if err != nil {
		t.Fatal(err)
	}
	name = filepath.Join(t.TempDir(), "locked.pem")
	if err := os.WriteFile(name, pem.EncodeToMemory(locked), 0o600); err != nil {
		t.Fatal(err)
	}
	return name, passphrase
}

// fixedRandom is randomness that is the same each time.
type fixedRandom struct{}

func (fixedRandom) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(i)
	}
	return len(b), nil
}

// watched is a link whose states and log are kept.
type watched struct {
	*link
	logs *testkit.Logs

	mu     sync.Mutex
	states []driver.State
}

func watch(t *testing.T, options map[string]string, hosts ...driver.Host) *watched {
	t.Helper()
	values, err := driver.ValidateOptions(optionSpecs(), options)
	if err != nil {
		t.Fatal(err)
	}
	w := &watched{logs: &testkit.Logs{}}
	set, err := newSettings(driver.Config{
		Hosts: hosts, Options: values, Logger: slog.New(slog.NewTextHandler(w.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Report: func(s driver.State) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.states = append(w.states, s)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.link = startLink(t, set)
	return w
}

func (w *watched) last() driver.State {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.states) == 0 {
		return driver.State{}
	}
	return w.states[len(w.states)-1]
}

// TestBrokerDies: the loss is reported before anybody sees it, and the next session comes soon after
// the broker is back because somebody waits.
func TestBrokerDies(t *testing.T) {
	t.Parallel()
	b := peertest.RunBrokerJ(t, nil)
	h := hostAt(t, b.Addr(), "", "")
	w := watch(t, map[string]string{optRetryInterval: "60", optIntervalMax: "60"}, h)
	first := connected(t, w.link)
	if s := w.last(); s.Phase != driver.Ready || s.Host != b.Addr() {
		t.Errorf("state %v", s)
	}
	l, err := first.lease(soon(t), forReceiver)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Kill(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-first.done:
	case <-soon(t).Done():
		t.Fatal("the loss is not seen")
	}
	if s := w.last(); s.Phase != driver.Connecting || driver.ReasonOf(s.Err) != driver.ReasonNotConnected {
		t.Errorf("the loss is not reported: %v", s)
	}
	if s, cause, _ := w.Trouble(); s != nil || cause == nil {
		t.Errorf("trouble is %v, %v", s, cause)
	}
	_, leaseErr := first.lease(soon(t), forSender)
	if e := driver.AsError(leaseErr); e == nil || e.Reason != driver.ReasonNotConnected {
		t.Errorf("a lease of what is over: %v", leaseErr)
	}
	l.release(soon(t), nil)
	if err := b.Restart(soon(t)); err != nil {
		t.Fatal(err)
	}
	// The wait between attempts is a minute, which nobody has who waits here.
	second := connected(t, w.link)
	if second == first || w.last().Phase != driver.Ready {
		t.Errorf("state %v", w.last())
	}
	if n := strings.Count(w.logs.String(), "addressing chosen"); n != 1 {
		t.Errorf("the choice of addresses is logged %d times", n)
	}
}

// TestFailOver: the next host is taken when one dies, and one that is away is passed over.
func TestFailOver(t *testing.T) {
	t.Parallel()
	a, b := peertest.RunBrokerJ(t, nil), peertest.RunBrokerJ(t, nil)
	w := watch(t, nil, hostAt(t, a.Addr(), "", ""), hostAt(t, "127.0.0.1:1", "", ""), hostAt(t, b.Addr(), "", ""))
	first := connected(t, w.link)
	mine, other := a, b
	if first.host == b.Addr() {
		mine, other = b, a
	}
	if err := mine.Kill(); err != nil {
		t.Fatal(err)
	}
	<-first.done
	if s := connected(t, w.link); s.host != other.Addr() {
		t.Errorf("connected to %s, want %s", s.host, other.Addr())
	}
}

// TestFailOverTLS: a host whose certificate is not for its name is passed over, each time, and does
// not end the wait for one that is only away.
func TestFailOverTLS(t *testing.T) {
	t.Parallel()
	authority := peertest.NewAuthority(t, "parley")
	run := func(name, host string) *peertest.BrokerJ {
		files := authority.Issue(peertest.Issued{Name: name, Hosts: []string{host}})
		return peertest.RunBrokerJ(t, &peertest.BrokerJOptions{TLS: files})
	}
	good, foreign := run("good", "localhost"), run("foreign", "elsewhere")
	hosts := []driver.Host{hostAt(t, good.TLSAddr(), "", ""), hostAt(t, foreign.TLSAddr(), "", "")}
	for i := range hosts {
		hosts[i].Name = "localhost"
	}
	w := watch(t, map[string]string{"ssl_ca_file": authority.File()}, hosts...)
	first := connected(t, w.link)
	if err := good.Kill(); err != nil {
		t.Fatal(err)
	}
	<-first.done
	short, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, cause := w.Await(short, false); short.Err() == nil || cause == nil || cause.Reason != driver.ReasonNotConnected {
		t.Errorf("while the good one is away: %v, ctx %v", cause, short.Err())
	}
	if err := good.Restart(soon(t)); err != nil {
		t.Fatal(err)
	}
	if s := connected(t, w.link); s.host != first.host {
		t.Errorf("connected to %s, want %s", s.host, first.host)
	}
	if !strings.Contains(w.logs.String(), "elsewhere") {
		t.Error("the log does not say for whom the certificate is")
	}
}

// TestIdleTimeout: a peer that hangs is given up.
func TestIdleTimeout(t *testing.T) {
	t.Parallel()
	b := peertest.RunBrokerJ(t, nil)
	w := watch(t, map[string]string{optIdleTimeout: "2"}, hostAt(t, b.Addr(), "", ""))
	s := connected(t, w.link)
	if err := b.Pause(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Resume() }()
	select {
	case <-s.done:
	case <-soon(t).Done():
		t.Fatal("it is not given up")
	}
	// A paused peer's kernel takes new connections: nothing is said there.
	if err := b.Resume(); err != nil {
		t.Fatal(err)
	}
	if next := connected(t, w.link); next == s {
		t.Error("the same session")
	}
}

// TestStopIsBounded: a peer that hangs does not hold back the end.
func TestStopIsBounded(t *testing.T) {
	t.Parallel()
	b := peertest.RunBrokerJ(t, nil)
	set := settingsFor(t, hostAt(t, b.Addr(), "", ""), "", nil)
	l := newLink(set, uplink.NewStates(set.report))
	l.Start()
	s := connected(t, l)
	if err := b.Pause(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Resume() }()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	started := time.Now()
	l.Stop(ctx)
	if took := time.Since(started); took > 20*time.Second {
		t.Errorf("it took %s", took)
	}
	<-s.done
}

// TestStall: an address that takes nothing makes the state Blocked, and nothing else.
func TestStall(t *testing.T) {
	w := watch(t, nil, hostAt(t, shared.usual.use(t), "", ""))
	s := connected(t, w.link)
	why := driver.Errorf(driver.ReasonBrokerBlocked, "a.b takes nothing")
	w.Stall(s, "a.b", why)
	w.Stall(s, "a.c", driver.Errorf(driver.ReasonBrokerBlocked, "a.c takes nothing"))
	if st := w.last(); st.Phase != driver.Blocked || !errors.Is(st.Err, why) || st.Host != s.host {
		t.Errorf("state %v", st)
	}
	if _, cause, _ := w.Trouble(); cause != nil {
		t.Errorf("trouble %v", cause)
	}
	w.Stall(s, "a.b", nil)
	if st := w.last(); st.Phase != driver.Blocked || !strings.Contains(st.String(), "a.c") {
		t.Errorf("state %v", st)
	}
	w.Stall(s, "a.c", nil)
	w.Stall(&session{}, "a.d", why) // of another life
	if st := w.last(); st.Phase != driver.Ready {
		t.Errorf("state %v", st)
	}
}

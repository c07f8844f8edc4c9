// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/testkit"
	"github.com/parleymq/parley/plugins/internal/uplink"
)

// The frames that the tests' own peers send.
const (
	amqpHeader = "AMQP\x00\x01\x00\x00"
	saslHeader = "AMQP\x03\x01\x00\x00"
)

func frameOf(kind byte, body string) string {
	out := binary.BigEndian.AppendUint32(nil, uint32(len(body)+8))
	return string(out) + "\x02" + string(kind) + "\x00\x00" + body
}

func listOf(code byte, values ...string) string {
	body := strings.Join(values, "")
	return "\x00\x53" + string(code) + "\xd0" + string(binary.BigEndian.AppendUint32(nil, uint32(len(body)+4))) +
		string(binary.BigEndian.AppendUint32(nil, uint32(len(values)))) + body
}

func symbolOf(s string) string { return "\xa3" + string(rune(len(s))) + s }
func textOf(s string) string   { return "\xa1" + string(rune(len(s))) + s }

func mechanismsOf(names ...string) string {
	var body strings.Builder
	for _, n := range names {
		body.WriteString(string(rune(len(n))) + n)
	}
	return saslHeader + frameOf(1, listOf(0x40, "\xe0"+string(rune(body.Len()+2))+string(rune(len(names)))+"\xa3"+body.String()))
}

func outcomeOf(code byte) string { return frameOf(1, listOf(0x44, "\x50"+string(code))) }

func opening() string { return amqpHeader + frameOf(0, listOf(0x10, textOf("peer"))) }

func closingOf(condition, description string) string {
	if condition == "" {
		return frameOf(0, "\x00\x53\x18\x45")
	}
	return frameOf(0, listOf(0x18, listOf(0x1d, symbolOf(condition), textOf(description))))
}

// peerThat listens, and lets talk have each connection, which is closed behind it.
func peerThat(t testing.TB, talk func(net.Conn)) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[c] = true
			mu.Unlock()
			running.Go(func() {
				talk(c)
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		running.Wait()
	})
	return l.Addr().String()
}

// says answers with text to whatever comes, and takes what comes until the client goes.
func says(texts ...string) func(net.Conn) {
	return func(c net.Conn) {
		b := make([]byte, 4096)
		if _, err := c.Read(b); err != nil {
			return
		}
		for _, text := range texts {
			if _, err := io.WriteString(c, text); err != nil {
				return
			}
		}
		_, _ = io.Copy(io.Discard, c)
	}
}

// ends is says, but closes the connection instead of waiting for the client to do so.
func ends(texts ...string) func(net.Conn) {
	return func(c net.Conn) {
		b := make([]byte, 4096)
		_, _ = c.Read(b)
		_, _ = io.WriteString(c, strings.Join(texts, ""))
	}
}

// hostAt is the host of a URL for addr.
func hostAt(t testing.TB, addr, user, password string) driver.Host {
	t.Helper()
	h := testkit.Host(t, addr)
	h.User, h.Password, h.HasUser, h.HasPassword = user, driver.Secret(password), user != "", password != ""
	return h
}

// settingsFor are those of options for one host.
func settingsFor(t testing.TB, h driver.Host, vhost string, options map[string]string) *settings {
	t.Helper()
	values, err := driver.ValidateOptions(optionSpecs(), options)
	if err != nil {
		t.Fatal(err)
	}
	s, err := newSettings(driver.Config{Hosts: []driver.Host{h}, VirtualHost: vhost, HasVirtualHost: vhost != "", Options: values, AppName: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const dialPassword = "S3cr3t-dial"

// TestOpenFails: what each kind of peer that is none looks like to a person.
func TestOpenFails(t *testing.T) {
	anonymous := map[string]string{optMechanisms: "ANONYMOUS"}
	vhost := map[string]string{optPseudoVhost: "false"}
	for _, tt := range []struct {
		name    string
		talk    func(net.Conn)
		user    string
		options map[string]string
		reason  driver.Reason
		want    string
	}{
		{name: "a web server", talk: ends("HTTP/1.1 400 Bad Request\r\n\r\n"), reason: driver.ReasonNotConnected, want: `answered something that is no AMQP: "HTTP/1.1"`},
		{name: "AMQP 0-9-1", talk: ends("AMQP\x00\x00\x09\x01"), reason: driver.ReasonNotConnected, want: "speaks AMQP 0-9-1, and not 1.0; for RabbitMQ take rabbit://"},
		{name: "another version", talk: ends("AMQP\x00\x02\x00\x00"), reason: driver.ReasonNotConnected, want: "another version of AMQP than 1.0"},
		{name: "TLS", talk: ends("\x15\x03\x03\x00\x02\x02\x46"), reason: driver.ReasonNotConnected, want: "speaks TLS on this port; set ssl=true"},
		{name: "TLS within AMQP", talk: ends("AMQP\x02\x01\x00\x00"), reason: driver.ReasonUnsupported, want: "wants TLS within AMQP"},
		{name: "it hangs up", talk: ends(), reason: driver.ReasonNotConnected, want: "closed the connection instead of opening it"},
		{name: "it wants a login", talk: ends(saslHeader), reason: driver.ReasonAuthRefused, want: "wants a login, and the URL has no user; write user:password@"},
		{name: "it has no login", talk: ends(amqpHeader), user: "u", reason: driver.ReasonAuthRefused, want: "has no login, and PLAIN is to be used"},
		{name: "it has no login for ANONYMOUS", talk: ends(amqpHeader), options: anonymous, reason: driver.ReasonAuthRefused, want: "has no login, and ANONYMOUS is to be used"},
		{
			name: "it offers another login", talk: says(mechanismsOf("GSSAPI", "ANONYMOUS")), user: "u",
			reason: driver.ReasonAuthRefused, want: "offers GSSAPI, ANONYMOUS to log in with, and not PLAIN; set sasl_mechanisms to one of ANONYMOUS",
		},
		{
			name: "it offers unknown logins", talk: says(mechanismsOf("SCRAM-SHA-256")), user: "u",
			reason: driver.ReasonAuthRefused, want: "offers SCRAM-SHA-256 to log in with, and not PLAIN; let the peer offer one of PLAIN, ANONYMOUS, EXTERNAL",
		},
		{name: "a wrong password", talk: says(mechanismsOf("PLAIN"), outcomeOf(1)), user: "u", reason: driver.ReasonAuthRefused, want: `refused the login of user "u"; check user and password`},
		{name: "nobody is let in", talk: says(mechanismsOf("ANONYMOUS"), outcomeOf(1)), options: anonymous, reason: driver.ReasonAuthRefused, want: "refused the login with ANONYMOUS"},
		{name: "not now", talk: says(mechanismsOf("PLAIN"), outcomeOf(4)), user: "u", reason: driver.ReasonNotConnected, want: "cannot check the login now"},
		{
			name: "an unknown virtual host", talk: says(opening(), closingOf("amqp:not-found", "Unknown hostname")), options: vhost,
			reason: driver.ReasonVirtualHostMissing, want: `has no virtual host "vh": Unknown hostname (amqp:not-found); create it`,
		},
		{
			name: "a user without rights", talk: says(opening(), closingOf("amqp:unauthorized-access", "no")), options: vhost,
			reason: driver.ReasonAuthRefused, want: `does not let user "" in: no (amqp:unauthorized-access)`,
		},
		{name: "too many", talk: says(opening(), closingOf("amqp:resource-limit-exceeded", "full")), reason: driver.ReasonNotConnected, want: "closed the connection: full (amqp:resource-limit-exceeded)"},
		{name: "closed without a word", talk: says(opening(), closingOf("", "")), reason: driver.ReasonNotConnected, want: "closed the connection behind its opening and does not say why"},
		{name: "gone behind the opening", talk: ends(opening()), reason: driver.ReasonNotConnected, want: "closed the connection"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := hostAt(t, peerThat(t, tt.talk), tt.user, dialPassword)
			s, err := dial(soon(t), settingsFor(t, h, "vh", tt.options), h)
			if err == nil {
				s.cut()
				t.Fatal("it is connected")
			}
			if err.Reason != tt.reason || !strings.Contains(err.Error(), tt.want) || err.Hint == "" && tt.name != "too many" {
				t.Errorf("got %v, want %s: %q", err, tt.reason, tt.want)
			}
			if strings.Contains(err.Error(), dialPassword) {
				t.Errorf("the password: %v", err)
			}
		})
	}
}

// TestSlowPeer: each step that a peer does not answer is named, and given up.
func TestSlowPeer(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, user string
		talk       func(net.Conn)
		want       string
	}{
		{"nothing", "", says(), "did not answer the beginning of AMQP within 1s; if it is a port for TLS"},
		{"no mechanisms", "u", says(saslHeader), "did not answer the beginning of the login"},
		{"no outcome", "u", says(mechanismsOf("PLAIN")), "did not answer the login"},
		{"no open", "", says(amqpHeader), "did not answer the opening of the connection"},
		{"half an open", "", says(opening()[:20]), "did not answer the opening of the connection"},
		{"no begin", "", says(opening()), "did not answer the beginning of a session"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := hostAt(t, peerThat(t, tt.talk), tt.user, dialPassword)
			set := settingsFor(t, h, "", nil)
			set.dialTimeout = time.Second
			s, err := dial(soon(t), set, h)
			if err == nil {
				s.cut()
				t.Fatal("it is connected")
			}
			if err.Reason != driver.ReasonNotConnected || !strings.Contains(err.Error(), tt.want) || !err.Retryable {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestNobodyThere: a port without a listener.
func TestNobodyThere(t *testing.T) {
	t.Parallel()
	h := hostAt(t, "127.0.0.1:1", "", "")
	if _, err := dial(soon(t), settingsFor(t, h, "", nil), h); err == nil || err.Reason != driver.ReasonNotConnected || err.Hint == "" {
		t.Errorf("got %v", err)
	}
}

// firstSent is what a client writes first with options, from the beginning of the connection.
func firstSent(t *testing.T, h driver.Host, answers []string, options map[string]string) string {
	t.Helper()
	got := make(chan string, 1)
	addr := peerThat(t, func(c net.Conn) {
		var all []byte
		b := make([]byte, 4096)
		for _, answer := range answers {
			n, err := c.Read(b)
			all = append(all, b[:n]...)
			if err != nil {
				break
			}
			_, _ = io.WriteString(c, answer)
		}
		n, _ := c.Read(b)
		got <- string(append(all, b[:n]...))
	})
	at := hostAt(t, addr, h.User, h.Password.Reveal())
	set := settingsFor(t, at, "vh", options)
	set.dialTimeout = 5 * time.Second
	if s, err := dial(soon(t), set, at); err == nil {
		s.cut()
	}
	return <-got
}

// TestOpenFrame: what upstream's has, and what options change in it.
func TestOpenFrame(t *testing.T) {
	plain := firstSent(t, driver.Host{}, []string{amqpHeader}, nil)
	for _, want := range []string{amqpHeader, "openstack.org/om/container/", "/test/", "process", "pid", "node"} {
		if !strings.Contains(plain, want) {
			t.Errorf("%q is not in %q", want, plain)
		}
	}
	if strings.Contains(plain, "\xa1\x02vh") || strings.Contains(plain, "SASL") {
		t.Errorf("the virtual host is sent: %q", plain)
	}
	if got := firstSent(t, driver.Host{}, []string{amqpHeader}, map[string]string{optPseudoVhost: "false"}); !strings.Contains(got, "\xa1\x02vh") {
		t.Errorf("the virtual host is not sent: %q", got)
	}
	if got := firstSent(t, driver.Host{}, []string{amqpHeader}, map[string]string{optContainerName: "my-container"}); !strings.Contains(got, "my-container") || strings.Contains(got, "openstack") {
		t.Errorf("the name is not sent: %q", got)
	}
	// Half of it, in milliseconds, as the standard advises and upstream's library does.
	if got := firstSent(t, driver.Host{}, []string{amqpHeader}, map[string]string{optIdleTimeout: "60"}); !strings.Contains(got, "\x70\x00\x00\x75\x30") || strings.Contains(plain, "\x70\x00\x00\x75\x30") {
		t.Errorf("the idle timeout is not sent: %q", got)
	}
}

// TestLogins: which mechanism is taken, and as whom.
func TestLogins(t *testing.T) {
	user := driver.Host{User: "u", Password: "pw"}
	for _, tt := range []struct {
		name    string
		host    driver.Host
		offer   []string
		options map[string]string
		want    string // what is sent, in that part
		not     string
	}{
		{name: "none", want: amqpHeader, not: "AMQP\x03"},
		{name: "PLAIN", host: user, offer: []string{"SCRAM-SHA-1", "PLAIN"}, want: "\x00u\x00pw"},
		{name: "with a realm", host: user, offer: []string{"PLAIN"}, options: map[string]string{optRealm: "example.org"}, want: "\x00u@example.org\x00pw"},
		{name: "a realm of its own", host: driver.Host{User: "u@a", Password: "pw"}, offer: []string{"PLAIN"}, options: map[string]string{optRealm: "b"}, want: "\x00u@a\x00pw"},
		{name: "ANONYMOUS", offer: []string{"PLAIN", "ANONYMOUS"}, options: map[string]string{optMechanisms: "anonymous"}, want: "ANONYMOUS"},
		{name: "several, as the peer likes", host: user, offer: []string{"ANONYMOUS", "PLAIN"}, options: map[string]string{optMechanisms: "PLAIN ANONYMOUS"}, want: "ANONYMOUS", not: "pw"},
		{name: "several, one of them unknown", host: user, offer: []string{"GSSAPI", "PLAIN"}, options: map[string]string{optMechanisms: "GSSAPI PLAIN"}, want: "\x00u\x00pw"},
		{name: "several without a user", offer: []string{"PLAIN", "ANONYMOUS"}, options: map[string]string{optMechanisms: "PLAIN ANONYMOUS"}, want: "ANONYMOUS"},
		{name: "restricted", host: user, offer: []string{"PLAIN", "ANONYMOUS"}, options: map[string]string{optMechanisms: "ANONYMOUS"}, want: "ANONYMOUS", not: "pw"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			answers := []string{amqpHeader}
			if tt.offer != nil {
				answers = []string{mechanismsOf(tt.offer...)}
			}
			got := firstSent(t, tt.host, answers, tt.options)
			if !strings.Contains(got, tt.want) || tt.not != "" && strings.Contains(got, tt.not) {
				t.Errorf("sent %q, want %q and not %q", got, tt.want, tt.not)
			}
		})
	}
}

// TestClearText: a password does not leave the machine in the clear, unless it may.
func TestClearText(t *testing.T) {
	far := &remoteConn{addr: &net.TCPAddr{IP: net.ParseIP("192.0.2.1"), Port: 5672}}
	near := &remoteConn{addr: &net.TCPAddr{IP: net.ParseIP("::1"), Port: 5672}}
	h := driver.Host{Name: "h", User: "u", Password: dialPassword}
	for _, tt := range []struct {
		name    string
		conn    net.Conn
		secure  bool
		options map[string]string
		ok      bool
	}{
		{name: "far and clear", conn: far},
		{name: "far and encrypted", conn: far, secure: true, ok: true},
		{name: "near and clear", conn: near, ok: true},
		{name: "allowed", conn: far, options: map[string]string{optAllowInsecure: "true"}, ok: true},
		{name: "one of several", conn: far, options: map[string]string{optMechanisms: "ANONYMOUS PLAIN"}},
		{name: "no password in it", conn: far, options: map[string]string{optMechanisms: "ANONYMOUS"}, ok: true},
	} {
		login := settingsFor(t, h, "", tt.options).login
		_, err := login.sasl(h, tt.conn, tt.secure)
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
		if err != nil && (err.Reason != driver.ReasonConfig || !uplink.Permanent(err) || !strings.Contains(err.Error(), "ssl=true") || strings.Contains(err.Error(), dialPassword)) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// remoteConn is a connection to somewhere.
type remoteConn struct {
	net.Conn
	addr net.Addr
}

func (c *remoteConn) RemoteAddr() net.Addr { return c.addr }

// TestTraceOption: frames are in the log, and passwords are not.
func TestTraceOption(t *testing.T) {
	for _, value := range []string{"true", "false"} {
		logs := &testkit.Logs{}
		h := hostAt(t, peerThat(t, says(mechanismsOf("PLAIN"), outcomeOf(1))), "u", dialPassword)
		values, err := driver.ValidateOptions(optionSpecs(), map[string]string{optTrace: value})
		if err != nil {
			t.Fatal(err)
		}
		s, err := newSettings(driver.Config{
			Hosts: []driver.Host{h}, Options: values, Logger: slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := dial(soon(t), s, h); err == nil {
			t.Fatal("it is connected")
		}
		got := logs.String()
		if traced := strings.Contains(got, "frame=sasl-init") && strings.Contains(got, "frame=sasl-outcome"); traced != (value == "true") {
			t.Errorf("trace=%s: %s", value, got)
		}
		if strings.Contains(got, dialPassword) {
			t.Errorf("the password: %s", got)
		}
	}
}

// TestLinkTries: the hosts are tried in turn, without a hot loop, each new cause is reported, and a
// cause that is permanent fails who is not patient at once.
func TestLinkTries(t *testing.T) {
	var mu sync.Mutex
	tries := map[string][]time.Time{}
	note := func(name string, talk func(net.Conn)) func(net.Conn) {
		return func(c net.Conn) {
			mu.Lock()
			tries[name] = append(tries[name], time.Now())
			mu.Unlock()
			talk(c)
		}
	}
	a := hostAt(t, peerThat(t, note("a", ends(saslHeader))), "", "")
	b := hostAt(t, peerThat(t, note("b", ends(saslHeader))), "", "")
	values, err := driver.ValidateOptions(optionSpecs(), map[string]string{optRetryInterval: "0.2", optRetryBackoff: "0"})
	if err != nil {
		t.Fatal(err)
	}
	var reported []driver.State
	set, err := newSettings(driver.Config{Hosts: []driver.Host{a, b}, Options: values, Report: func(s driver.State) {
		mu.Lock()
		defer mu.Unlock()
		reported = append(reported, s)
	}})
	if err != nil {
		t.Fatal(err)
	}
	l := newLink(set, uplink.NewStates(set.report))
	l.Start()
	_, cause := l.Await(soon(t), false)
	if cause == nil || cause.Reason != driver.ReasonAuthRefused {
		t.Errorf("got %v", cause)
	}
	if _, trouble, _ := l.Trouble(); trouble == nil {
		t.Error("there is no trouble")
	}
	if failing, _ := l.Failing(); failing == nil {
		t.Error("it is not failing")
	}
	patient, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, cause := l.Await(patient, true); cause == nil || patient.Err() == nil {
		t.Errorf("the patient one got %v", cause)
	}
	eventually(t, "both are tried three times", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(tries["a"]) >= 3 && len(tries["b"]) >= 3
	})
	l.Stop(soon(t))
	if _, cause := l.Await(soon(t), true); cause == nil || cause.Reason != driver.ReasonClosed {
		t.Errorf("after the end: %v", cause)
	}
	mu.Lock()
	defer mu.Unlock()
	all := slices.Concat(tries["a"], tries["b"])
	slices.SortFunc(all, time.Time.Compare)
	// Two each pass, whose wait is three quarters of the interval at least.
	for i := 0; i+2 < len(all); i++ {
		if gap := all[i+2].Sub(all[i]); gap < 100*time.Millisecond {
			t.Errorf("try %d is %s behind the one two before", i+2, gap)
		}
	}
	if len(reported) < 2 || reported[0].Phase != driver.Connecting || reported[0].Err != nil || reported[1].Err == nil {
		t.Errorf("reported %v", reported)
	}
	if len(reported) > 3 { // two hosts have two texts, of which one is the last of a pass
		t.Errorf("reported %d states: %v", len(reported), reported)
	}
}

// SPDX-License-Identifier: Apache-2.0

package zmtp

import (
	"crypto/tls"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/testkit"
)

// configs reads the files of one node.
func configs(t *testing.T, f *peertest.TLSFiles, ca, name string) (server, client *tls.Config) {
	t.Helper()
	server, client, err := TLS(f.Cert, f.Key, ca, name)
	if err != nil {
		t.Fatal(err)
	}
	return server, client
}

func TestTLSNamesThePeers(t *testing.T) {
	ca := peertest.NewAuthority(t, "ca")
	a := ca.Issue(peertest.Issued{Name: "a", Hosts: []string{"node-a", "127.0.0.1"}})
	b := ca.Issue(peertest.Issued{Name: "b", Hosts: []string{"node-b", "10.0.0.1"}})
	server, _ := configs(t, a, ca.File(), "")
	for _, name := range []string{"", "node-a"} {
		_, client := configs(t, b, ca.File(), name)
		for _, endpoint := range []string{"tcp://127.0.0.1:0", "ipc://" + t.TempDir() + "/s"} {
			if name == "" && strings.HasPrefix(endpoint, "ipc") {
				continue
			}
			l := listen(t, endpoint, Options{TLS: server})
			dealer := dial(t, l.Endpoint(), Options{TLS: client, Identity: "id"})
			router := accept(t, l)
			if p := dealer.Peer(); p.CommonName != "a" || !slices.Equal(p.Names, []string{"node-a", "127.0.0.1"}) {
				t.Errorf("dealer sees %+v", p)
			}
			if p := router.Peer(); p.CommonName != "b" || !slices.Equal(p.Names, []string{"node-b", "10.0.0.1"}) || p.Identity != "id" {
				t.Errorf("router sees %+v", p)
			}
			if v := dealer.guard.Conn.(*tls.Conn).ConnectionState().Version; v != tls.VersionTLS13 {
				t.Errorf("TLS %#x", v)
			}
			ended := background(t, router)
			for range 20 {
				if err := dealer.Send([][]byte{make([]byte, mib)}); err != nil {
					t.Fatal(err)
				}
			}
			if err := dealer.CloseAfterFlush(soon(t)); err != nil {
				t.Error(err)
			}
			if err := ending(t, ended); !errors.Is(err, ErrPeerClosed) {
				t.Error(err)
			}
		}
	}
}

// Each is refused with a reason on the side that refuses and on the one that is refused.
func TestTLSRefuses(t *testing.T) {
	ca, other := peertest.NewAuthority(t, "ca"), peertest.NewAuthority(t, "other")
	good := ca.Issue(peertest.Issued{Name: "good", Hosts: []string{"127.0.0.1"}})
	named := ca.Issue(peertest.Issued{Name: "named", Hosts: []string{"node-x"}})
	stale := ca.Issue(peertest.Issued{Name: "stale", Hosts: []string{"127.0.0.1"}, NotAfter: time.Now().Add(-time.Minute)})
	strange := other.Issue(peertest.Issued{Name: "strange", Hosts: []string{"127.0.0.1"}})
	only := func(c *tls.Config, edit func(*tls.Config)) *tls.Config {
		c = c.Clone()
		edit(c)
		return c
	}
	server := func(f *peertest.TLSFiles, ca string) *tls.Config { s, _ := configs(t, f, ca, ""); return s }
	client := func(f *peertest.TLSFiles, ca, name string) *tls.Config { _, c := configs(t, f, ca, name); return c }
	for _, tc := range []struct {
		name           string
		server, client *tls.Config
		dialler, log   string
	}{
		{"the dialler has another authority's certificate", server(good, ca.File()), client(strange, ca.File(), ""), "does not take the certificate of this side", "unknown authority"},
		{"the dialler knows another authority", server(good, ca.File()), client(good, other.File(), ""), "unknown authority", "bad certificate"},
		{"the listener has another authority's certificate", server(strange, ca.File()), client(good, ca.File(), ""), "unknown authority", "bad certificate"},
		{"the dialler's certificate has expired", server(good, ca.File()), client(stale, ca.File(), ""), "certificate of this side", "expired"},
		{"the listener's certificate has expired", server(stale, ca.File()), client(good, ca.File(), ""), "expired", "remote error: tls"},
		{"other name", server(named, ca.File()), client(good, ca.File(), ""), "for other names", "bad certificate"},
		{"other node", server(good, ca.File()), client(good, ca.File(), "node-y"), "for other names", "bad certificate"},
		{"no certificate", server(good, ca.File()), only(client(good, ca.File(), ""), func(c *tls.Config) { c.GetClientCertificate = nil }), "certificate required", "didn't provide a certificate"},
		{"TLS 1.2", server(good, ca.File()), only(client(good, ca.File(), ""), func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 }), "TLS 1.3", "unsupported versions"},
		{"the listener has no TLS", nil, client(good, ca.File(), ""), "speaks no TLS", "it speaks TLS"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var log testkit.Logs
			l := listen(t, "tcp://127.0.0.1:0", Options{TLS: tc.server, Logger: log.Logger()})
			_, err := Dial(soon(t), l.Endpoint(), Options{TLS: tc.client})
			e, ok := errors.AsType[*driver.Error](err)
			if !ok || e.Reason != driver.ReasonTLSFailed || e.Hint == "" || !strings.Contains(e.Error(), tc.dialler) {
				t.Errorf("the dialler got %v", err)
			}
			eventually(t, "a warning", func() bool { return strings.Contains(log.String(), "level=WARN") })
			if text := log.String(); !strings.Contains(text, tc.log) || (tc.server != nil && !strings.Contains(text, "TLS_FAILED")) {
				t.Errorf("the listener wrote %s", text)
			}
			if strings.Contains(log.String()+err.Error(), "PRIVATE KEY") {
				t.Error("a key was shown")
			}
		})
	}
	t.Run("the dialler has no TLS", func(t *testing.T) {
		var log testkit.Logs
		l := listen(t, "tcp://127.0.0.1:0", Options{TLS: server(good, ca.File()), Logger: log.Logger()})
		_, err := Dial(soon(t), l.Endpoint(), Options{})
		if err == nil || driver.ReasonOf(err) != driver.ReasonNotConnected || !strings.Contains(err.Error(), "TLS") {
			t.Error(err)
		}
		eventually(t, "a warning", func() bool { return strings.Contains(log.String(), "speaks no TLS") })
	})
}

func TestTLSFilesAreChecked(t *testing.T) {
	ca := peertest.NewAuthority(t, "ca")
	a, b := ca.Issue(peertest.Issued{Name: "a"}), ca.Issue(peertest.Issued{Name: "b"})
	for name, files := range map[string][3]string{
		"no certificate": {"/nonexistent", a.Key, ca.File()}, "no key": {a.Cert, "/nonexistent", ca.File()}, "no authority": {a.Cert, a.Key, "/nonexistent"},
		"another's key": {a.Cert, b.Key, ca.File()}, "no key in the certificate": {a.Cert, "", ca.File()}, "no certificate in the authority": {a.Cert, a.Key, a.Key},
	} {
		_, _, err := TLS(files[0], files[1], files[2], "")
		e, ok := errors.AsType[*driver.Error](err)
		if !ok || e.Reason != driver.ReasonConfig || e.Hint == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A renewed certificate is used without a new configuration, a broken one is not.
func TestTLSCertificateIsRenewed(t *testing.T) {
	ca := peertest.NewAuthority(t, "ca")
	old := ca.Issue(peertest.Issued{Name: "old", Hosts: []string{"127.0.0.1"}})
	renewed := ca.Issue(peertest.Issued{Name: "new", Hosts: []string{"127.0.0.1", "renewed"}})
	server, client := configs(t, old, ca.File(), "")
	l := listen(t, "tcp://127.0.0.1:0", Options{TLS: server})
	names := func() (string, string) {
		c := dial(t, l.Endpoint(), Options{TLS: client})
		return c.Peer().CommonName, accept(t, l).Peer().CommonName
	}
	if a, b := names(); a != "old" || b != "old" {
		t.Errorf("%s %s", a, b)
	}
	move(t, renewed.Key, old.Key)
	move(t, renewed.Cert, old.Cert)
	if a, b := names(); a != "new" || b != "new" {
		t.Errorf("%s %s", a, b)
	}
	if err := os.WriteFile(old.Cert, []byte("half a fi"), 0o600); err != nil {
		t.Fatal(err)
	}
	if a, b := names(); a != "new" || b != "new" {
		t.Errorf("%s %s", a, b)
	}
}

func move(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// Silent clients of a TLS listener cost what plain ones do.
func TestSilentTLSClientIsClosed(t *testing.T) {
	ca := peertest.NewAuthority(t, "ca")
	server, client := configs(t, ca.Issue(peertest.Issued{Name: "a", Hosts: []string{"127.0.0.1"}}), ca.File(), "")
	l := listen(t, "tcp://127.0.0.1:0", Options{TLS: server, Handshake: 200 * time.Millisecond})
	serve(t, l)
	c := raw(t, l)
	roundTrip(t, dial(t, l.Endpoint(), Options{TLS: client}), frames("x"))
	start := time.Now()
	if _, err := io.Copy(io.Discard, c); isTimeout(err) || time.Since(start) > 5*time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
}

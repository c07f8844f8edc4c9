// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/tls"
	"errors"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/internal/tlspeer"
	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/testkit"
)

// tlsAddr is the broker's port for TLS by the name that its certificate has.
func (b *bench) tlsAddr() string {
	return strings.Replace(b.broker.TLSAddr(), "127.0.0.1", "localhost", 1)
}

// tlsOptions adds to options what a client with these files sets.
func tlsOptions(files *peertest.TLSFiles, options map[string]string) map[string]string {
	all := map[string]string{tlspeer.OptEnabled: "true", tlspeer.OptCAFile: files.CA}
	if files.Cert != "" {
		all[tlspeer.OptCertFile], all[tlspeer.OptKeyFile] = files.Cert, files.Key
	}
	maps.Copy(all, options)
	return all
}

func (b *bench) pythonURL() string {
	if b.tls == nil {
		return b.broker.URL(b.vhost)
	}
	return b.broker.URLAt(b.tlsAddr(), b.vhost)
}

// pythonConf gives a Python peer the same options as ours.
func (b *bench) pythonConf() map[string]map[string]any {
	if b.tls == nil {
		return nil
	}
	rabbit := make(map[string]any)
	for name, value := range tlsOptions(b.tls, nil) {
		rabbit[name] = value
	}
	return map[string]map[string]any{"oslo_messaging_rabbit": rabbit}
}

// tlsBroker is a node that listens for TLS as localhost, by an authority that is returned.
func tlsBroker(t *testing.T, requireClient bool) (*peertest.RabbitMQ, *peertest.Authority, *peertest.TLSFiles) {
	t.Helper()
	authority := peertest.NewAuthority(t, "Parley test authority")
	files := authority.Issue(peertest.Issued{Name: "broker", Hosts: []string{"localhost"}})
	files.RequireClient = requireClient
	return peertest.RunRabbitMQ(t, &peertest.RabbitMQOptions{TLS: files}), authority, files
}

// TestTLS connects to a real broker's port for TLS, in every way that works and that does not.
func TestTLS(t *testing.T) {
	broker, _, files := tlsBroker(t, false)
	b := newBench(t, broker)
	b.tls = &peertest.TLSFiles{CA: files.CA}
	byAddress := func(cfg *driver.Config) { cfg.Hosts[0].Name = "127.0.0.1" }
	other := peertest.NewAuthority(t, "another authority")
	expired := relayTLS(t, broker.Addr(), peertest.NewAuthority(t, "authority of old").Issue(peertest.Issued{
		Name: "old", Hosts: []string{"localhost"}, NotAfter: time.Now().Add(-time.Hour),
	}))
	for _, tt := range []struct {
		name    string
		options map[string]string
		change  func(*driver.Config)
		reason  driver.Reason // empty: it works
		text    string
	}{
		{name: "right authority and name"},
		{name: "TLS 1.2 alone", options: map[string]string{tlspeer.OptVersion: "TLSv1_2"}},
		{name: "upstream's name for all versions", options: map[string]string{tlspeer.OptVersion: "SSLv23"}},
		{name: "another name allowed", options: map[string]string{tlspeer.OptHostname: "false"}, change: byAddress},
		{
			name: "another name", change: byAddress,
			reason: driver.ReasonTLSFailed, text: `its certificate is not for the host "127.0.0.1" but for localhost; write one of these names`,
		},
		{
			name: "another authority", options: map[string]string{tlspeer.OptCAFile: other.File()},
			reason: driver.ReasonTLSFailed, text: "is signed by an authority that is not known; check that " + other.File(),
		},
		{
			name: "another authority, any name", options: map[string]string{tlspeer.OptCAFile: other.File(), tlspeer.OptHostname: "false"},
			reason: driver.ReasonTLSFailed, text: "(issuer CN=Parley test authority) is signed by an authority that is not known",
		},
		{
			name: "the system's authorities", options: map[string]string{tlspeer.OptCAFile: ""},
			reason: driver.ReasonTLSFailed, text: "name the file of the authority's certificate in ssl_ca_file",
		},
		{
			name: "a port without TLS", change: func(cfg *driver.Config) { cfg.Hosts[0] = hostAt(t, broker.Addr()) },
			reason: driver.ReasonTLSFailed, text: "it answered something that is no TLS; this port speaks no TLS",
		},
		{
			name: "no TLS on a port with it", options: map[string]string{tlspeer.OptEnabled: "false"},
			reason: driver.ReasonNotConnected, text: "if it is a port for TLS, set ssl=true",
		},
		{
			name: "expired", options: map[string]string{tlspeer.OptCAFile: expired.ca},
			change: func(cfg *driver.Config) { cfg.Hosts[0] = hostAt(t, expired.addr); cfg.Hosts[0].Name = "localhost" },
			reason: driver.ReasonTLSFailed, text: "renew the broker's certificate",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := b.config(tt.options)
			if tt.change != nil {
				tt.change(&cfg)
			}
			checkTLS(t, cfg, tt.reason, tt.text)
		})
	}
	t.Run("files are read again", func(t *testing.T) { testRenewed(t, b, files, other) })
}

// checkTLS sends and receives, or expects a failure with a text.
func checkTLS(t *testing.T, cfg driver.Config, reason driver.Reason, text string) {
	t.Helper()
	c := open(t, cfg)
	if reason == "" {
		l, err := c.Listen(soon(t), server(driver.SettleOnPoll))
		testkit.Must(t, err)
		testkit.Must(t, c.Send(soon(t), []*driver.Message{testkit.Cast(1)}))
		testkit.Poll(soon(t), t, l, 1, 1)
		testkit.Must(t, l.Close(soon(t)))
		return
	}
	started := time.Now()
	e := testkit.Failure(t, c.Send(testkit.Within(t, patience/2), []*driver.Message{failFast(1)}), reason)
	if !strings.Contains(e.Error(), text) || e.Hint == "" {
		t.Errorf("got %v, want %q", e, text)
	}
	if took := time.Since(started); took > patience/4 {
		t.Errorf("it took %v", took)
	}
}

// testRenewed puts the right authority where a wrong one was: the next attempt works.
func testRenewed(t *testing.T, b *bench, files *peertest.TLSFiles, other *peertest.Authority) {
	at := filepath.Join(t.TempDir(), "ca.pem")
	put := func(from string) {
		text, err := os.ReadFile(from)
		testkit.Must(t, err)
		testkit.Must(t, os.WriteFile(at, text, 0o600))
	}
	put(other.File())
	c := open(t, b.config(map[string]string{tlspeer.OptCAFile: at, "rabbit_retry_interval": "0.05", "rabbit_retry_backoff": "0"}))
	testkit.FailsWith(t, c.Send(soon(t), []*driver.Message{testkit.Cast(1)}), driver.ReasonTLSFailed)
	put(files.CA)
	eventually(t, "a connection with the new authority", func() bool {
		return c.Send(testkit.Within(t, time.Second), []*driver.Message{testkit.Cast(1)}) == nil
	})
}

// TestTLSClientCertificate meets a broker that asks for one. It says no only when the handshake is
// over for the client.
func TestTLSClientCertificate(t *testing.T) {
	broker, authority, files := tlsBroker(t, true)
	b := newBench(t, broker)
	mine := authority.Issue(peertest.Issued{Name: "client"})
	foreign := peertest.NewAuthority(t, "another authority").Issue(peertest.Issued{Name: "stranger"})
	both := filepath.Join(t.TempDir(), "both.pem")
	testkit.Must(t, os.WriteFile(both, append(readFile(t, mine.Cert), readFile(t, mine.Key)...), 0o600))
	for _, tt := range []struct {
		name   string
		files  peertest.TLSFiles
		reason driver.Reason
		text   string
	}{
		{"its authority's", *mine, "", ""},
		{"one file for both", peertest.TLSFiles{CA: files.CA, Cert: both}, "", ""},
		{"none", peertest.TLSFiles{CA: files.CA}, driver.ReasonTLSFailed, "name one in ssl_cert_file and ssl_key_file"},
		{
			"a stranger's", peertest.TLSFiles{CA: files.CA, Cert: foreign.Cert, Key: foreign.Key},
			driver.ReasonTLSFailed, "get one of an authority that the broker takes: " + foreign.Cert,
		},
	} {
		for _, version := range []string{"", "TLSv1_2"} {
			t.Run(tt.name+version, func(t *testing.T) {
				b.tls = &tt.files
				checkTLS(t, b.config(map[string]string{tlspeer.OptVersion: version}), tt.reason, tt.text)
			})
		}
	}
	for _, python := range peertest.Pythons(t) {
		t.Run(python.Name, func(t *testing.T) {
			b := newBench(t, broker)
			b.tls = mine
			testPythonServer(b, python)
		})
	}
}

// TestTLSPython: peers on both sides of a broker that they and we reach by TLS.
func TestTLSPython(t *testing.T) {
	broker, _, files := tlsBroker(t, false)
	for _, python := range peertest.Pythons(t) {
		secure := func(t *testing.T) *bench {
			b := newBench(t, broker)
			b.tls = &peertest.TLSFiles{CA: files.CA}
			return b
		}
		t.Run(python.Name+" server", func(t *testing.T) { testPythonServer(secure(t), python) })
		t.Run(python.Name+" client", func(t *testing.T) { testPythonClient(secure(t), python) })
		t.Run(python.Name+" rules", func(t *testing.T) { testPythonRules(t, secure(t), python) })
	}
}

// testPythonRules records what upstream takes for good, so that what is different here is known.
func testPythonRules(t *testing.T, b *bench, python peertest.Python) {
	byAddress := b.broker.URLAt(b.broker.TLSAddr(), b.vhost)
	twoHosts := strings.Replace(byAddress, "@", "@"+b.broker.TLSAddr()+",guest:guest@", 1)
	if python.Name == peertest.OsloNewest { // the older one has no such option
		t.Run("authority, another name, not enforced", func(t *testing.T) {
			none := 0
			conf := map[string]any{"ssl": true, "ssl_ca_file": b.tls.CA, "ssl_enforce_hostname_verification": false}
			client := peertest.RunPythonClient(t, python, peertest.PythonClientOptions{URL: byAddress, Conf: map[string]map[string]any{"oslo_messaging_rabbit": conf}})
			if err := client.Cast(soon(t), peertest.Request{Topic: "v", Method: "m", Retry: &none}); err == nil {
				t.Error("the option has an effect")
			}
		})
	}
	for _, tt := range []struct {
		name, url string
		conf      map[string]any
		newest    bool // does it work with the newest release
		debian    bool // and with Debian's
	}{
		{"no authority", b.pythonURL(), map[string]any{"ssl": true}, false, false},
		{"no authority, SSLv23", b.pythonURL(), map[string]any{"ssl": true, "ssl_version": "SSLv23"}, true, true},
		{"authority, another name", byAddress, map[string]any{"ssl": true, "ssl_ca_file": b.tls.CA}, false, true},
		{"authority, another name, two hosts", twoHosts, map[string]any{"ssl": true, "ssl_ca_file": b.tls.CA}, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			none := 0
			client := peertest.RunPythonClient(t, python, peertest.PythonClientOptions{
				URL: tt.url, Conf: map[string]map[string]any{"oslo_messaging_rabbit": tt.conf},
			})
			err := client.Cast(soon(t), peertest.Request{Topic: "v", Method: "m", Retry: &none})
			want := tt.newest
			if python.Name == peertest.OsloDebian {
				want = tt.debian
			}
			if (err == nil) != want {
				t.Errorf("got %v, want success %t", err, want)
			}
		})
	}
}

// TestTLSSettings has the mistakes that are found before anything is connected.
func TestTLSSettings(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		testkit.Must(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	authority := peertest.NewAuthority(t, "a")
	one, two := authority.Issue(peertest.Issued{Name: "one"}), authority.Issue(peertest.Issued{Name: "two"})
	locked := write("locked.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")
	nothing := filepath.Join(dir, "nothing")
	for _, tt := range []struct {
		name    string
		options map[string]string
		text    string // empty: no error
	}{
		{"off, whatever the rest says", map[string]string{"ssl": "false", "ssl_version": "nonsense", "ssl_ca_file": nothing}, ""},
		{"all", map[string]string{"ssl_ca_file": one.CA, "ssl_cert_file": one.Cert, "ssl_key_file": one.Key, "ssl_version": "tlsV1_2"}, ""},
		{"an old version", map[string]string{"ssl_version": "TLSv1"}, "versions before TLS 1.2 are not spoken; leave ssl_version out"},
		{"no version", map[string]string{"ssl_version": "TLS"}, `"tls": there is no such version; leave ssl_version out`},
		{"no authority there", map[string]string{"ssl_ca_file": nothing}, "option ssl_ca_file: open " + nothing + ": no such file"},
		{"no authority in it", map[string]string{"ssl_ca_file": one.Key}, "there is no certificate in " + one.Key + "; it must be a PEM file"},
		{"no certificate there", map[string]string{"ssl_cert_file": nothing}, "option ssl_cert_file: open"},
		{"no key there", map[string]string{"ssl_cert_file": one.Cert, "ssl_key_file": nothing}, "option ssl_key_file: open"},
		{"key alone", map[string]string{"ssl_key_file": one.Key}, "name the certificate that belongs to the key in ssl_cert_file"},
		{"certificate alone", map[string]string{"ssl_cert_file": one.Cert}, "without ssl_key_file the key must stand in the certificate's file"},
		{"of two pairs", map[string]string{"ssl_cert_file": one.Cert, "ssl_key_file": two.Key}, "both must be PEM files that belong together"},
		{"locked key", map[string]string{"ssl_cert_file": one.Cert, "ssl_key_file": locked}, "the key is locked by a passphrase"},
		{"a directory", map[string]string{"ssl_ca_file": dir}, "is a directory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			options := map[string]string{"ssl": "true"}
			maps.Copy(options, tt.options)
			values, err := driver.ValidateOptions(optionSpecs(), options)
			testkit.Must(t, err)
			_, err = newSettings(driver.Config{Options: values})
			if tt.text == "" {
				testkit.Must(t, err)
				return
			}
			if e := testkit.Failure(t, err, driver.ReasonConfig); !strings.Contains(e.Error(), tt.text) {
				t.Errorf("got %v, want %q", e, tt.text)
			}
		})
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	testkit.Must(t, err)
	return text
}

func hostAt(t *testing.T, addr string) driver.Host {
	t.Helper()
	return testkit.Config(t, newDriver(), addr, "/", &testkit.Logs{}, nil).Hosts[0]
}

// tlsRelay speaks TLS for a broker that does not, with a certificate that no broker would start with.
type tlsRelay struct{ addr, ca string }

func relayTLS(t *testing.T, target string, files *peertest.TLSFiles) tlsRelay {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	testkit.Must(t, err)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}})
	testkit.Must(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { relayOne(in, target) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return tlsRelay{l.Addr().String(), files.CA}
}

func relayOne(in net.Conn, target string) {
	defer func() { _ = in.Close() }()
	out, err := net.DialTimeout("tcp", target, patience)
	if err != nil {
		return
	}
	back := make(chan error, 1)
	go func() {
		_, err := io.Copy(in, out)
		back <- errors.Join(err, in.Close())
	}()
	_, _ = io.Copy(out, in)              // its end is what is waited for
	_ = errors.Join(out.Close(), <-back) // as are these
}

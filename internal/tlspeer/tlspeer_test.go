// SPDX-License-Identifier: Apache-2.0

package tlspeer_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/internal/tlspeer"
	"github.com/parleymq/parley/plugin/driver"
)

// serve takes connections until the test ends and gives each to f, which closes nothing.
func serve(t *testing.T, f func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				f(c)
				_ = c.Close() // f is done with it
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return l.Addr().String()
}

// patience bounds what must happen, on a machine that does other things.
const patience = 30 * time.Second

// reset closes a connection that has something to read.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_, _ = tcp.Read(make([]byte, 1))
		_ = tcp.SetLinger(0)
	}
}

// listenOnly says nothing until the client goes.
func listenOnly(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

func settings(t *testing.T, options map[string]string) *tlspeer.Settings {
	t.Helper()
	options[tlspeer.OptEnabled] = "true"
	values, err := driver.ValidateOptions(tlspeer.Specs(), options)
	if err != nil {
		t.Fatal(err)
	}
	s, err := tlspeer.From(values)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestProbe meets peers that real brokers seldom are; those are met in plugins/rabbit.
func TestProbe(t *testing.T) {
	authority := peertest.NewAuthority(t, "authority")
	files := authority.Issue(peertest.Issued{Name: "peer", Hosts: []string{"localhost", "127.0.0.1"}})
	pair, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		t.Fatal(err)
	}
	handshake := func(cfg *tls.Config) func(net.Conn) {
		cfg.Certificates = []tls.Certificate{pair}
		return func(c net.Conn) {
			s := tls.Server(c, cfg)
			if s.Handshake() == nil {
				_, _ = s.Read(make([]byte, 1)) // until the client goes
			}
		}
	}
	for _, tt := range []struct {
		name    string
		peer    func(net.Conn)
		options map[string]string
		host    string
		reason  driver.Reason // empty: it works
		text    string
	}{
		{"TLS 1.3", handshake(&tls.Config{MinVersion: tls.VersionTLS13}), nil, "127.0.0.1", "", "TLS 1.3"},
		{"TLS 1.2", handshake(&tls.Config{MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12}), nil, "localhost", "", "TLS 1.2"},
		{
			"TLS 1.3 alone, and 1.2 here", handshake(&tls.Config{MinVersion: tls.VersionTLS13}), map[string]string{tlspeer.OptVersion: "TLSv1_2"}, "localhost",
			driver.ReasonTLSFailed, "ssl_version allows: allow it at the broker",
		},
		{
			"TLS 1.1", handshake(&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}), nil, "localhost",
			driver.ReasonTLSFailed, "version",
		},
		{"resets", reset, nil, "localhost", driver.ReasonNotConnected, "closed the connection in the TLS handshake"},
		{"closes", func(net.Conn) {}, nil, "localhost", driver.ReasonNotConnected, "closed the connection in the TLS handshake"},
		{"says nothing", listenOnly, nil, "localhost", driver.ReasonNotConnected, "did not answer in the TLS handshake; this port may speak no TLS"},
		{"another protocol", func(c net.Conn) { _, _ = c.Write([]byte("220 mail.example\r\n")); listenOnly(c) }, nil, "localhost", driver.ReasonTLSFailed, "it answered something that is no TLS"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			options := map[string]string{tlspeer.OptCAFile: files.CA}
			for name, value := range tt.options {
				options[name] = value
			}
			limit := patience
			if tt.name == "says nothing" {
				limit = time.Second
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			seen, err := settings(t, options).Probe(ctx, serve(t, tt.peer), tt.host)
			if tt.reason == "" {
				if err != nil || seen.Version != tt.text || seen.Subject != "CN=peer" || seen.Names != "localhost, 127.0.0.1" || time.Until(seen.Expires) < 89*24*time.Hour {
					t.Errorf("got %+v, %v", seen, err)
				}
				return
			}
			e, ok := errors.AsType[*driver.Error](err)
			if !ok || e.Reason != tt.reason || !strings.Contains(e.Error(), tt.text) || e.Hint == "" {
				t.Errorf("got %v, want %s: %q", err, tt.reason, tt.text)
			}
		})
	}
}

// SPDX-License-Identifier: Apache-2.0

package peertest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"

	amqp "github.com/Azure/go-amqp"
)

// amqpTimeout bounds each step of a client; the machine may be busy.
const amqpTimeout = 30 * time.Second

func TestBrokerJLeavesNothing(t *testing.T) {
	b := RunBrokerJ(t, nil)
	pid := b.PID()
	sendAndReceive(t, "amqp://"+b.Addr(), nil)
	sendAndReceive(t, "amqp://"+b.PlainAddr(), &amqp.ConnOptions{SASLType: amqp.SASLTypePlain(BrokerJUser, BrokerJPassword)})
	if err := b.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := b.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b.PID() == pid || b.PID() == 0 {
		t.Errorf("pid is %d, was %d before the restart", b.PID(), pid)
	}
	sendAndReceive(t, "amqp://"+b.Addr(), nil)
	if err := b.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if err := b.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(marked(b.dir)) != 1 {
		t.Errorf("processes %v carry the mark: the test proves nothing", marked(b.dir))
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if pids := marked(b.dir); len(pids) != 0 {
		t.Errorf("processes %v are left after Close", pids)
	}
	if _, err := os.Stat(b.dir); !os.IsNotExist(err) {
		t.Errorf("directory %s is left after Close: %v", b.dir, err)
	}
}

// TestBrokerJTLS: each TLS port has its login.
func TestBrokerJTLS(t *testing.T) {
	authority := NewAuthority(t, "ca")
	files := authority.Issue(Issued{Name: "broker", Hosts: []string{"127.0.0.1", "localhost"}})
	b := RunBrokerJ(t, &BrokerJOptions{TLS: files})
	client := authority.Issue(Issued{Name: "client"})
	cert, err := tls.LoadX509KeyPair(client.Cert, client.Key)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(authority.File())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	anybody := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	known := anybody.Clone()
	known.Certificates = []tls.Certificate{cert}
	sendAndReceive(t, "amqps://"+b.TLSAddr(), &amqp.ConnOptions{TLSConfig: anybody})
	sendAndReceive(t, "amqps://"+b.PlainTLSAddr(), &amqp.ConnOptions{TLSConfig: anybody, SASLType: amqp.SASLTypePlain(BrokerJUser, BrokerJPassword)})
	sendAndReceive(t, "amqps://"+b.ExternalAddr(), &amqp.ConnOptions{TLSConfig: known, SASLType: amqp.SASLTypeExternal("")})
	ctx, cancel := context.WithTimeout(t.Context(), amqpTimeout)
	defer cancel()
	if conn, err := amqp.Dial(ctx, "amqps://"+b.ExternalAddr(), &amqp.ConnOptions{TLSConfig: anybody, SASLType: amqp.SASLTypeExternal("")}); err == nil {
		_ = conn.Close()
		t.Error("a client without a certificate is let in")
	}
}

// TestBrokerJShared: another process uses it through its descriptor and cannot
// disturb those that it shares it with.
func TestBrokerJShared(t *testing.T) {
	b := RunBrokerJ(t, nil)
	file := filepath.Join(t.TempDir(), "brokerj.json")
	if err := b.WriteDescriptor(file); err != nil {
		t.Fatal(err)
	}
	t.Setenv(sharedBrokerJVariable, file)
	other := RunSharedBrokerJ(t)
	if other.URL("v") != b.URL("v") || other.PlainURL(BrokerJUser, "v") != b.PlainURL(BrokerJUser, "v") {
		t.Errorf("it is at %s, want %s", other.URL("v"), b.URL("v"))
	}
	for _, err := range []error{other.Kill(), other.Stop(t.Context()), other.Restart(t.Context()), other.Pause()} {
		if err == nil {
			t.Error("a shared one is ended or paused")
		}
	}
	if err := other.Close(); err != nil {
		t.Error(err)
	}
	sendAndReceive(t, "amqp://"+b.Addr(), nil)
}

// TestBrokerJOptions: its channel-max, and nodes that nobody makes.
func TestBrokerJOptions(t *testing.T) {
	b := RunBrokerJ(t, &BrokerJOptions{NoPolicies: true, MaxSessions: 3})
	conn := dialAMQP1(t, "amqp://"+b.Addr(), nil)
	ctx, cancel := context.WithTimeout(t.Context(), amqpTimeout)
	defer cancel()
	for range 3 {
		s, err := conn.NewSession(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.NewSender(ctx, "unicast.openstack.t", nil); err == nil {
			t.Error("a sender to a missing node is not refused")
		}
	}
	if _, err := conn.NewSession(ctx, nil); err == nil {
		t.Error("there is a fourth session")
	}
}

// sendAndReceive sends a message through a queue that is made by it.
func sendAndReceive(t *testing.T, addr string, o *amqp.ConnOptions) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), amqpTimeout)
	defer cancel()
	conn := dialAMQP1(t, addr, o)
	defer closeQuietly(conn) // or its receiver would take the next one's message
	s, err := conn.NewSession(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	sender, err := s.NewSender(ctx, "unicast.openstack.t", nil)
	if err != nil {
		t.Fatal(err)
	}
	receiver, err := s.NewReceiver(ctx, "unicast.openstack.t", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := sender.Send(ctx, &amqp.Message{Value: addr}, nil); err != nil {
		t.Fatal(err)
	}
	m, err := receiver.Receive(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if m.Value != addr {
		t.Errorf("got %v, want %q", m.Value, addr)
	}
	if err := receiver.AcceptMessage(ctx, m); err != nil {
		t.Error(err)
	}
}

func dialAMQP1(t *testing.T, addr string, o *amqp.ConnOptions) *amqp.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), amqpTimeout)
	defer cancel()
	conn, err := amqp.Dial(ctx, addr, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

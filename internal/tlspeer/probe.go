// SPDX-License-Identifier: Apache-2.0

package tlspeer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// afterHandshake is how long Probe waits for a broker that dislikes the client's certificate: in
// TLS 1.3 it says so when the client is done already.
const afterHandshake = 250 * time.Millisecond

// Seen is what a handshake showed.
type Seen struct {
	Version string // such as "TLS 1.3"
	Subject string
	Names   string // whom the certificate is for
	Expires time.Time
}

// Probe makes a connection to address, whose name is host, and one handshake. The error is a
// *driver.Error with ReasonTLSFailed, or ReasonNotConnected when the network is at fault.
func (s *Settings) Probe(ctx context.Context, address, host string) (Seen, error) {
	cfg, err := s.Config(host)
	if err != nil {
		return Seen{}, err
	}
	var d net.Dialer
	plain, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return Seen{}, driver.Errorf(driver.ReasonNotConnected, "%w", err)
	}
	defer func() { _ = plain.Close() }() // nothing is left to say
	missed := noteCertificate(cfg)
	c := tls.Client(plain, cfg)
	if err = c.HandshakeContext(ctx); err == nil {
		err = refusedLater(c)
	}
	if err != nil {
		if *missed && errors.Is(err, io.EOF) {
			return Seen{}, s.certificateMissing(address) // one in Java says no more than that
		}
		if f := s.Failure(address, err); f != nil {
			return Seen{}, f
		}
		return Seen{}, driver.Errorf(driver.ReasonTLSFailed, "no TLS with %s: %w", address, err)
	}
	return seen(c.ConnectionState()), nil
}

// noteCertificate tells, after the handshake, whether the broker asked for a certificate and got none:
// what is shown stays the same.
func noteCertificate(cfg *tls.Config) *bool {
	missed := new(bool)
	cfg.GetClientCertificate = func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		for i := range cfg.Certificates {
			if info.SupportsCertificate(&cfg.Certificates[i]) == nil {
				return &cfg.Certificates[i], nil
			}
		}
		*missed = true
		return new(tls.Certificate), nil
	}
	return missed
}

// refusedLater waits for the alert of a broker that does not take the client's certificate.
func refusedLater(c *tls.Conn) error {
	if err := c.SetReadDeadline(time.Now().Add(afterHandshake)); err != nil {
		return err
	}
	_, err := c.Read(make([]byte, 1))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return err
}

func seen(state tls.ConnectionState) Seen {
	s := Seen{Version: tls.VersionName(state.Version)}
	if len(state.PeerCertificates) == 0 {
		return s
	}
	leaf := state.PeerCertificates[0]
	s.Subject, s.Names, s.Expires = leaf.Subject.String(), names(leaf), earliest(state.PeerCertificates)
	return s
}

// earliest is when the first certificate of the chain ends to hold.
func earliest(chain []*x509.Certificate) time.Time {
	end := chain[0].NotAfter
	for _, c := range chain[1:] {
		if c.NotAfter.Before(end) {
			end = c.NotAfter
		}
	}
	return end
}

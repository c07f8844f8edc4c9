// SPDX-License-Identifier: Apache-2.0

package peertest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TLSFiles are the PEM files of one side of TLS.
type TLSFiles struct {
	CA, Cert, Key string
	// RequireClient makes a broker refuse clients without a certificate of CA.
	RequireClient bool
	// Versions are those a broker offers, such as "tlsv1.2". Default: what Erlang offers.
	Versions []string
}

// config is the part of rabbitmq.conf, empty for nil.
func (f *TLSFiles) config(port int) string {
	if f == nil {
		return ""
	}
	verify := "verify_none"
	if f.RequireClient {
		verify = "verify_peer"
	}
	var text strings.Builder
	fmt.Fprintf(&text, `
listeners.ssl.default = 127.0.0.1:%d
ssl_options.cacertfile = %s
ssl_options.certfile = %s
ssl_options.keyfile = %s
ssl_options.verify = %s
ssl_options.fail_if_no_peer_cert = %t
`, port, f.CA, f.Cert, f.Key, verify, f.RequireClient)
	for i, v := range f.Versions {
		fmt.Fprintf(&text, "ssl_options.versions.%d = %s\n", i+1, v)
	}
	return text.String()
}

// Authority signs certificates for tests. Its files last as long as the test that made it.
type Authority struct {
	tb   testing.TB
	dir  string
	file string // of its certificate
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	made int64
}

// NewAuthority makes an authority of the test's own.
func NewAuthority(tb testing.TB, name string) *Authority {
	tb.Helper()
	a := &Authority{tb: tb, dir: tb.TempDir()}
	a.key = newKey(tb)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:  x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(365 * 24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err == nil {
		a.cert, err = x509.ParseCertificate(der)
	}
	if err != nil {
		tb.Fatal(err)
	}
	a.file = a.write("ca.pem", "CERTIFICATE", der)
	return a
}

// Issued is what to put into a certificate. Zero times mean from an hour ago, for 90 days.
type Issued struct {
	Name     string   // the subject's common name
	Hosts    []string // names and addresses that it is for
	NotAfter time.Time
}

// Issue signs a certificate that serves for both sides, and writes its files.
func (a *Authority) Issue(i Issued) *TLSFiles {
	a.tb.Helper()
	a.made++
	if i.NotAfter.IsZero() {
		i.NotAfter = time.Now().Add(90 * 24 * time.Hour)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1 + a.made), Subject: pkix.Name{CommonName: i.Name}, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: i.NotAfter,
	}
	if i.NotAfter.Before(template.NotBefore) {
		template.NotBefore = i.NotAfter.Add(-time.Hour)
	}
	for _, host := range i.Hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	key := newKey(a.tb)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		a.tb.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.tb.Fatal(err)
	}
	prefix := fmt.Sprintf("cert%d", a.made)
	return &TLSFiles{
		CA: a.file, Cert: a.write(prefix+".pem", "CERTIFICATE", der), Key: a.write(prefix+"-key.pem", "PRIVATE KEY", secret),
	}
}

func (a *Authority) write(name, kind string, der []byte) string {
	a.tb.Helper()
	path := filepath.Join(a.dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.tb.Fatal(err)
	}
	return path
}

func newKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// File is the authority's certificate.
func (a *Authority) File() string { return a.file }

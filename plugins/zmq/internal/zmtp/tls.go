// SPDX-License-Identifier: Apache-2.0

package zmtp

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"strings"
	"sync"
	"syscall"

	"github.com/parleymq/parley/plugin/driver"
)

// errTLS marks what failed in the TLS handshake, whatever it is.
var errTLS = errors.New("TLS handshake")

// TLS makes both sides' configurations from PEM files: the certificate with the intermediate ones
// behind it, its key (empty when that is in the same file), and the authorities that must have
// signed the certificates of peers. Both sides show a certificate and check the other's, from TLS
// 1.3. name is whom the dialled peer's certificate must be for; empty for the host that was dialled.
// A certificate that is renewed in its files is used from the next connection on; new authorities
// need a new configuration. Every error has ReasonConfig.
func TLS(cert, key, ca, name string) (server, client *tls.Config, err error) {
	if key == "" {
		key = cert
	}
	own := &keyPair{certFile: cert, keyFile: key}
	if err := own.load(); err != nil {
		return nil, nil, own.mistake(err)
	}
	roots, err := authorities(ca)
	if err != nil {
		return nil, nil, err
	}
	server = &tls.Config{
		MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots,
		// A resumed session would be verified by what held when it began.
		SessionTicketsDisabled: true,
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return own.current() },
	}
	client = &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: roots, ServerName: name,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own.current() },
	}
	return server, client, nil
}

// keyPair is our certificate, read anew when its file changes.
type keyPair struct {
	certFile, keyFile string

	mu     sync.Mutex
	loaded *tls.Certificate // guarded by mu
	stat   fs.FileInfo      // guarded by mu; of certFile when it was read
}

// current keeps to the last good certificate while the files are being replaced.
func (k *keyPair) current() (*tls.Certificate, error) {
	k.mu.Lock()
	stale := true
	if now, err := os.Stat(k.certFile); err == nil && k.stat != nil {
		stale = !now.ModTime().Equal(k.stat.ModTime()) || now.Size() != k.stat.Size() || !os.SameFile(now, k.stat)
	}
	k.mu.Unlock()
	if stale {
		_ = k.load() // the one before is still there
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.loaded, nil
}

func (k *keyPair) load() error {
	stat, err := os.Stat(k.certFile)
	if err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(k.certFile, k.keyFile)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.loaded, k.stat = &pair, stat
	return nil
}

// mistake names the files. What package tls says of a key is free of its bytes.
func (k *keyPair) mistake(err error) error {
	e := driver.Errorf(driver.ReasonConfig, "certificate %s with the key %s: %w", k.certFile, k.keyFile, err)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return e.WithHint("check the paths, and that the user of the driver's process may read them")
	}
	return e.WithHint("both must be PEM files that belong together, and the key without a passphrase")
}

func authorities(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, driver.Errorf(driver.ReasonConfig, "authorities: %w", err).
			WithHint("check the path, and that the user of the driver's process may read it")
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, driver.Errorf(driver.ReasonConfig, "there is no certificate in %s", file).
			WithHint("it must be a PEM file with the authorities of all peers")
	}
	return pool, nil
}

// tlsFailure says why TLS with peer failed; nil when err is not about TLS. What may heal by itself
// is no failure of TLS.
func tlsFailure(peer string, err error) *driver.Error {
	text := err.Error()
	about := errors.Is(err, errTLS) || strings.Contains(text, "tls: ") || strings.Contains(text, "x509: ")
	if !about || passing(err) {
		return nil
	}
	e := driver.Errorf(driver.ReasonTLSFailed, "no TLS with %s: %w", peer, err)
	_, alert, isAlert := strings.Cut(text, "remote error: tls: ")
	switch {
	case isAlert:
		return e.WithHint("%s", alertHint(alert))
	case isA[x509.UnknownAuthorityError](err):
		return e.WithHint("all peers need certificates of an authority that is in the file of authorities here")
	case isA[x509.HostnameError](err):
		return e.WithHint("the peer's certificate is for other names: get one for this name, or dial it by one of its own")
	case isA[x509.CertificateInvalidError](err):
		return e.WithHint("renew the peer's certificate, and compare the clocks of both machines")
	case isA[tls.RecordHeaderError](err):
		return e.WithHint("the other side speaks no TLS: turn it on there, or off here")
	case strings.Contains(text, "didn't provide a certificate"):
		return e.WithHint("give the peer a certificate of its own")
	default:
		return e.WithHint("the peer's log may say more")
	}
}

// alertHint is for what the other side found wrong with us.
func alertHint(alert string) string {
	switch {
	case strings.Contains(alert, "expired"):
		return "the certificate of this side has expired: renew it, and compare the clocks of both machines"
	case strings.Contains(alert, "protocol version"):
		return "the peer does not speak TLS 1.3"
	case strings.Contains(alert, "certificate"):
		return "the peer does not take the certificate of this side: it needs one of an authority that the peer knows, for the name that the peer expects"
	default:
		return "the peer's log may say more"
	}
}

// passing is a peer that is gone or slow, in the middle of TLS.
func passing(err error) bool {
	return isTimeout(err) || errors.Is(readFailure(err), ErrPeerClosed) || isA[syscall.Errno](err)
}

func isA[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

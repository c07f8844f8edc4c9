// SPDX-License-Identifier: Apache-2.0

package tlspeer

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/parleymq/parley/plugin/driver"
)

// Failure says why TLS with address failed, with ReasonTLSFailed, or ReasonNotConnected for what may
// heal. It is nil when err is not about TLS.
func (s *Settings) Failure(address string, err error) *driver.Error {
	failed := func(format string, args ...any) *driver.Error {
		return driver.Errorf(driver.ReasonTLSFailed, "no TLS with %s: "+format, append([]any{address}, args...)...)
	}
	if e, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return failed("its certificate%s is signed by an authority that is not known", issuedBy(e.Cert)).
			WithHint("%s", s.authorityHint())
	}
	if e, ok := errors.AsType[x509.HostnameError](err); ok {
		return failed("its certificate is not for the host %q but for %s", e.Host, names(e.Certificate)).
			WithHint("%s", s.nameHint())
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		return failed("%w", e).WithHint("%s", invalidHint(e))
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return failed("it answered something that is no TLS").
			WithHint("this port speaks no TLS: take the broker's TLS port (5671 as a rule), or leave %s out", OptEnabled)
	}
	// An alert that comes behind the handshake is only a text by the time it gets here.
	switch text := err.Error(); {
	case strings.Contains(text, "certificate required"), !s.HasCertificate() && strings.Contains(text, "bad certificate"):
		return s.certificateMissing(address)
	case strings.Contains(text, "remote error: tls: "):
		_, alert, _ := strings.Cut(text, "remote error: tls: ")
		return failed("it broke off: %s", strings.TrimSuffix(alert, `"`)).WithHint("%s", s.alertHint(alert))
	case strings.Contains(text, "tls: "), strings.Contains(text, "x509: "):
		return failed("%w", err).WithHint("the broker's log may say more")
	}
	return s.silence(address, err)
}

func (s *Settings) certificateMissing(address string) *driver.Error {
	return driver.Errorf(driver.ReasonTLSFailed, "no TLS with %s: it wants a client certificate", address).WithHint("%s", s.certificateHint())
}

// silence is a handshake that was not answered. A broker that is just starting does the same, so
// waiting may help.
func (s *Settings) silence(address string, err error) *driver.Error {
	why := ""
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		why = "did not answer in the TLS handshake"
	}
	if closed(err) {
		why = "closed the connection in the TLS handshake"
	}
	if why == "" {
		return nil
	}
	return driver.Errorf(driver.ReasonNotConnected, "%s %s", address, why).
		WithHint("this port may speak no TLS: take the broker's TLS port (5671 as a rule), or leave %s out", OptEnabled)
}

// closed reports whether err is that of a peer which closed the connection. One that had not read
// what we wrote resets it.
func closed(err error) bool {
	for _, end := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, end) {
			return true
		}
	}
	return false
}

func (s *Settings) nameHint() string {
	hint := "write one of these names into the URL, or get a certificate for this one"
	switch {
	case s.name != "":
		return hint + "; " + OptVerifyVhost + "=false compares the host of the URL"
	case s.options(OptHostname):
		return hint + "; " + OptHostname + "=false takes any name"
	case s.options(OptVerifyVhost):
		return hint + "; " + OptVerifyVhost + "=true compares the virtual host"
	default:
		return hint
	}
}

func (s *Settings) authorityHint() string {
	if s.caFile == "" {
		return "name the file of the authority's certificate in " + OptCAFile
	}
	return "check that " + s.caFile + " (" + OptCAFile + ") has the certificate of that authority"
}

func (s *Settings) alertHint(alert string) string {
	switch {
	case strings.Contains(alert, "handshake failure"): // what TLS 1.2 has for it
		return "if the broker wants a client certificate, " + s.certificateHint()
	case strings.Contains(alert, "protocol version"):
		if !s.options(OptVersion) {
			return "the broker offers no TLS version from 1.2: allow it at the broker"
		}
		return "the broker offers no TLS version from 1.2 that " + OptVersion + " allows: allow it at the broker"
	case strings.Contains(alert, "certificate"), strings.Contains(alert, "unknown CA"), strings.Contains(alert, "certificate authority"):
		return s.certificateHint()
	default:
		return "the broker's log may say more"
	}
}

// certificateHint is for a broker that misses a client certificate. One that no authority of the
// broker signed is not even shown to it.
func (s *Settings) certificateHint() string {
	if s.certFile == "" {
		return "name one in " + OptCertFile + " and " + OptKeyFile
	}
	return "get one of an authority that the broker takes: " + s.certFile + " (" + OptCertFile + ") is none, or does not hold any more"
}

func invalidHint(e x509.CertificateInvalidError) string {
	if e.Reason == x509.Expired {
		return "renew the broker's certificate, and compare the clocks of both machines"
	}
	return "get another certificate for the broker"
}

func issuedBy(c *x509.Certificate) string {
	if c == nil || c.Issuer.String() == "" {
		return ""
	}
	return " (issuer " + c.Issuer.String() + ")"
}

// names is whom a certificate is for.
func names(c *x509.Certificate) string {
	all := append([]string(nil), c.DNSNames...)
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	if len(all) == 0 {
		return "no name at all"
	}
	const most = 8
	if len(all) > most {
		all = append(all[:most], "...")
	}
	return strings.Join(all, ", ")
}

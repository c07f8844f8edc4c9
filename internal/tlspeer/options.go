// SPDX-License-Identifier: Apache-2.0

// Package tlspeer is how this side speaks TLS with a broker, by the ssl options that upstream's
// rabbit and amqp1 drivers have. The drivers use it, and "parley doctor" does, so that what the
// doctor says of a handshake is what the driver meets.
package tlspeer

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/parleymq/parley/plugin/driver"
)

// The options, by upstream's names (oslo_messaging/_drivers/impl_rabbit.py, rabbit_opts).
const (
	OptEnabled  = "ssl"
	OptVersion  = "ssl_version"
	OptKeyFile  = "ssl_key_file"
	OptCertFile = "ssl_cert_file"
	OptCAFile   = "ssl_ca_file"
	OptHostname = "ssl_enforce_hostname_verification"
)

// The options that upstream's amqp1 driver alone has (oslo_messaging/_drivers/amqp1_driver/opts.py).
const (
	OptKeyPassword = "ssl_key_password"
	OptVerifyVhost = "ssl_verify_vhost"
)

// Specs declares the options, with upstream's defaults.
func Specs() []driver.OptionSpec {
	return []driver.OptionSpec{
		{Name: OptEnabled, Type: driver.OptionBool, Default: "false",
			Help: "speak TLS; the port is not changed by it, brokers use 5671 as a rule"},
		{Name: OptVersion, Type: driver.OptionString, Default: "",
			Help: "TLSv1_2 for that version alone; empty or SSLv23 for the best that both sides have, from 1.2"},
		{Name: OptCAFile, Type: driver.OptionString, Default: "",
			Help: "PEM file of the authorities that may have signed the broker's certificate; empty for the system's"},
		{Name: OptCertFile, Type: driver.OptionString, Default: "",
			Help: "PEM file of the client certificate, with the intermediate ones behind it"},
		{Name: OptKeyFile, Type: driver.OptionString, Default: "",
			Help: "PEM file of the client certificate's key; empty when it is in the file of the certificate"},
		{Name: OptHostname, Type: driver.OptionBool, Default: "true",
			Help: "refuse a broker whose certificate is not for the URL's host"},
	}
}

// SpecsAMQP1 declares the options that the amqp1 driver has, with upstream's defaults. There TLS is
// also asked for by naming the file of an authority or of a certificate.
func SpecsAMQP1() []driver.OptionSpec {
	return []driver.OptionSpec{
		{Name: OptEnabled, Type: driver.OptionBool, Default: "false",
			Help: "speak TLS, as do " + OptCAFile + " and " + OptCertFile + "; the port is not changed by it, brokers use 5671 as a rule"},
		{Name: OptCAFile, Type: driver.OptionString, Default: "",
			Help: "PEM file of the authorities that may have signed the broker's certificate; empty for the system's"},
		{Name: OptCertFile, Type: driver.OptionString, Default: "",
			Help: "PEM file of the client certificate, with the intermediate ones behind it"},
		{Name: OptKeyFile, Type: driver.OptionString, Default: "",
			Help: "PEM file of the client certificate's key; empty when it is in the file of the certificate"},
		{Name: OptKeyPassword, Type: driver.OptionString, Default: "", Secret: true,
			Help: "the passphrase of the key, if it is locked by one"},
		{Name: OptVerifyVhost, Type: driver.OptionBool, Default: "false",
			Help: "refuse a broker whose certificate is not for the virtual host, instead of the URL's host"},
	}
}

// Settings are the values of the options. Only files are named, so that a certificate that is
// renewed is used from the next connection on.
type Settings struct {
	version     string
	caFile      string
	certFile    string
	keyFile     string
	keyPassword driver.Secret
	name        string // whom the certificate must be for; empty for the URL's host
	anyHostname bool
	options     func(name string) bool // whether the driver has that option, for hints
}

// From returns the settings that options ask for, nil when they ask for no TLS. The files are read
// once to find mistakes; every error has ReasonConfig.
func From(o driver.Options) (*Settings, error) { return FromConfig(driver.Config{Options: o}) }

// FromConfig is From for drivers whose options speak of more than themselves: with ssl_verify_vhost
// the virtual host is the name that a broker must have.
func FromConfig(cfg driver.Config) (*Settings, error) {
	o := cfg.Options
	if !wanted(o) {
		return nil, nil //nolint:nilnil // no TLS is no error
	}
	_, named := o[OptHostname]
	s := &Settings{
		version: strings.ToLower(o.String(OptVersion)), caFile: o.String(OptCAFile),
		certFile: o.String(OptCertFile), keyFile: o.String(OptKeyFile), keyPassword: driver.Secret(o.String(OptKeyPassword)),
		anyHostname: named && !o.Bool(OptHostname),
		options:     func(name string) bool { _, ok := o[name]; return ok },
	}
	if s.keyFile != "" && s.certFile == "" {
		return nil, driver.Errorf(driver.ReasonConfig, "option %s is set and %s is not", OptKeyFile, OptCertFile).
			WithHint("name the certificate that belongs to the key in %s", OptCertFile)
	}
	if o.Bool(OptVerifyVhost) {
		// Upstream checks no name at all then.
		if s.name = cfg.VirtualHost; s.name == "" {
			return nil, driver.Errorf(driver.ReasonConfig, "option %s is set and the URL has no virtual host", OptVerifyVhost).
				WithHint("write the name that the broker's certificate has behind the last slash of the URL, or leave %s out", OptVerifyVhost)
		}
	}
	if _, err := s.Config(""); err != nil {
		return nil, err
	}
	return s, nil
}

// wanted reports whether options ask for TLS: by name, and for the amqp1 driver by files as well.
func wanted(o driver.Options) bool {
	_, amqp1 := o[OptVerifyVhost]
	return o.Bool(OptEnabled) || amqp1 && (o.String(OptCAFile) != "" || o.String(OptCertFile) != "")
}

// CAFile is the file of authorities, empty for the system's.
func (s *Settings) CAFile() string { return s.caFile }

// HasCertificate reports whether a client certificate is shown to brokers that ask for one.
func (s *Settings) HasCertificate() bool { return s.certFile != "" }

// Config reads the files and returns what a connection to host needs. Every error has
// ReasonConfig.
func (s *Settings) Config(host string) (*tls.Config, error) {
	switch {
	case s.name != "":
		host = s.name
	case host == "":
		host = "localhost"
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
	if err := s.setVersion(c); err != nil {
		return nil, err
	}
	if err := s.setAuthorities(c); err != nil {
		return nil, err
	}
	if err := s.setCertificate(c); err != nil {
		return nil, err
	}
	if s.anyHostname {
		// The library has no way to check the chain alone.
		c.InsecureSkipVerify = true
		c.VerifyConnection = func(state tls.ConnectionState) error { return verifyChain(state, c.RootCAs) }
	}
	return c, nil
}

// setVersion takes upstream's names, in any case as upstream does.
func (s *Settings) setVersion(c *tls.Config) error {
	switch s.version {
	case "", "sslv23": // which never meant those two
		return nil
	case "tlsv1_2":
		c.MaxVersion = tls.VersionTLS12
		return nil
	case "sslv2", "sslv3", "tlsv1", "tlsv1_1":
		return driver.Errorf(driver.ReasonConfig, "option %s=%s: versions before TLS 1.2 are not spoken", OptVersion, s.version).
			WithHint("leave %s out, or set it to TLSv1_2", OptVersion)
	default:
		return driver.Errorf(driver.ReasonConfig, "option %s=%q: there is no such version", OptVersion, s.version).
			WithHint("leave %s out, or set it to TLSv1_2", OptVersion)
	}
}

func (s *Settings) setAuthorities(c *tls.Config) error {
	if s.caFile == "" {
		return nil
	}
	text, err := os.ReadFile(s.caFile)
	if err != nil {
		return unreadable(OptCAFile, err)
	}
	c.RootCAs = x509.NewCertPool()
	if !c.RootCAs.AppendCertsFromPEM(text) {
		return driver.Errorf(driver.ReasonConfig, "option %s: there is no certificate in %s", OptCAFile, s.caFile).
			WithHint("it must be a PEM file, with BEGIN CERTIFICATE in it; from DER: openssl x509 -inform der -in FILE")
	}
	return nil
}

func (s *Settings) setCertificate(c *tls.Config) error {
	if s.certFile == "" {
		return nil
	}
	cert, err := os.ReadFile(s.certFile)
	if err != nil {
		return unreadable(OptCertFile, err)
	}
	key := cert
	if s.keyFile != "" {
		if key, err = os.ReadFile(s.keyFile); err != nil {
			return unreadable(OptKeyFile, err)
		}
	}
	if isLocked(key) {
		if key, err = s.unlocked(key); err != nil {
			return err
		}
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err == nil {
		c.Certificates = []tls.Certificate{pair}
		return nil
	}
	e := driver.Errorf(driver.ReasonConfig, "options %s and %s: %w", OptCertFile, OptKeyFile, err)
	return e.WithHint("both must be PEM files that belong together; without %s the key must stand in the certificate's file", OptKeyFile)
}

func unreadable(option string, err error) error {
	e := driver.Errorf(driver.ReasonConfig, "option %s: %w", option, err)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return e.WithHint("check the path; it is looked up by the driver's process, on this machine")
	case errors.Is(err, fs.ErrPermission):
		return e.WithHint("let the user of this process read it")
	default:
		return e
	}
}

// verifyChain is what the library does without the name.
func verifyChain(state tls.ConnectionState, roots *x509.CertPool) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("the broker showed no certificate")
	}
	intermediates := x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		intermediates.AddCert(c)
	}
	_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates})
	return err
}

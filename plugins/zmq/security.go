// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/parleymq/parley/internal/tlspeer"
	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/zmq/internal/zmtp"
)

// secure sets up TLS, and refuses to be open to the world by accident.
func (s *settings) secure(cfg driver.Config) error {
	if cfg.Options.Bool(tlspeer.OptEnabled) {
		return s.useTLS(cfg.Options)
	}
	for _, endpoint := range s.node.Bind {
		if exposed(endpoint) && !cfg.Options.Bool(optInsecure) {
			return driver.Errorf(driver.ReasonConfig, "%s can be reached from other machines, and is not encrypted", endpoint).
				WithHint("set ssl=true with ssl_ca_file, ssl_cert_file and ssl_key_file, or %s=127.0.0.1, or %s=true on a network of your own", optBindAddress, optInsecure)
		}
	}
	return nil
}

// tlsSpecs are the options of TLS: both sides show a certificate and check the other's.
func tlsSpecs() []driver.OptionSpec {
	return []driver.OptionSpec{
		{Name: tlspeer.OptEnabled, Type: driver.OptionBool, Default: "false",
			Help: "speak TLS 1.3 with all peers; each shows a certificate and checks the other's"},
		{Name: tlspeer.OptCAFile, Type: driver.OptionString,
			Help: "PEM file of the authorities that sign the certificates of nodes"},
		{Name: tlspeer.OptCertFile, Type: driver.OptionString,
			Help: "PEM file of this node's certificate, for the host name or address that peers dial"},
		{Name: tlspeer.OptKeyFile, Type: driver.OptionString,
			Help: "PEM file of its key; empty when it is in the file of the certificate"},
	}
}

// useTLS reads the certificates.
func (s *settings) useTLS(o driver.Options) error {
	if o.String(tlspeer.OptCertFile) == "" || o.String(tlspeer.OptCAFile) == "" {
		return driver.Errorf(driver.ReasonConfig, "ssl=true needs %s and %s", tlspeer.OptCertFile, tlspeer.OptCAFile).
			WithHint("every node shows a certificate, and checks the others' by the authority's")
	}
	server, client, err := zmtp.TLS(o.String(tlspeer.OptCertFile), o.String(tlspeer.OptKeyFile), o.String(tlspeer.OptCAFile), "")
	if err != nil {
		return err
	}
	s.node.Conn.TLS, s.node.Dial = server, client
	return nil
}

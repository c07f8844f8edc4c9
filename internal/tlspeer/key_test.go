// SPDX-License-Identifier: Apache-2.0

package tlspeer_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parleymq/parley/internal/tlspeer"
	"github.com/parleymq/parley/plugin/driver"
)

// passphrase locks the keys of testdata, which OpenSSL 3.0 made, all of one key.
const passphrase = "S3cr3t-passphrase"

// amqp1 are the settings of a driver with the options of upstream's amqp1 driver.
func amqp1(t *testing.T, vhost string, options map[string]string) (*tlspeer.Settings, error) {
	t.Helper()
	values, err := driver.ValidateOptions(tlspeer.SpecsAMQP1(), options)
	if err != nil {
		t.Fatal(err)
	}
	return tlspeer.FromConfig(driver.Config{VirtualHost: vhost, Options: values})
}

func data(name string) string { return filepath.Join("testdata", name) }

func TestLockedKeys(t *testing.T) {
	damaged := filepath.Join(t.TempDir(), "damaged.pem")
	text, err := os.ReadFile(data("aes256sha256.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(damaged, []byte(strings.Replace(string(text), "MIH", "MIG", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name     string
		cert     string // instead of cert.pem
		key      string
		password string
		want     string // "" for a key that opens
	}{
		{name: "AES-256, SHA-256", key: data("aes256sha256.pem"), password: passphrase},
		{name: "AES-192, SHA-512", key: data("aes192sha512.pem"), password: passphrase},
		{name: "AES-128, SHA-1", key: data("aes128sha1.pem"), password: passphrase},
		{name: "triple DES", key: data("des3.pem"), password: passphrase},
		{name: "the form before PKCS #8", key: data("traditional.pem"), password: passphrase},
		{name: "in the file of the certificate", cert: data("both.pem"), password: passphrase},
		{name: "not locked", key: data("plain.pem"), password: passphrase},
		{name: "scrypt", key: data("scrypt.pem"), password: passphrase, want: "it is locked in a way that is not known here"},
		{name: "damaged", key: damaged, password: passphrase, want: "the key cannot be unlocked"},
		{name: "a wrong passphrase", key: data("aes256sha256.pem"), password: "S3cr3t-other", want: "the key cannot be unlocked: x509: decryption password incorrect; check the passphrase"},
		{name: "a wrong passphrase before PKCS #8", key: data("traditional.pem"), password: "S3cr3t-other", want: "check the passphrase"},
		{name: "no passphrase", key: data("des3.pem"), want: "the key is locked by a passphrase; set ssl_key_password, or unlock the key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cert := data("cert.pem")
			if tt.cert != "" {
				cert = tt.cert
			}
			s, err := amqp1(t, "", map[string]string{tlspeer.OptCertFile: cert, tlspeer.OptKeyFile: tt.key, tlspeer.OptKeyPassword: tt.password})
			if tt.want == "" {
				if err != nil || !s.HasCertificate() {
					t.Fatal(err)
				}
				if cfg, err := s.Config("h"); err != nil || len(cfg.Certificates) != 1 {
					t.Errorf("%v", err)
				}
				return
			}
			e := driver.AsError(err)
			if e == nil || e.Reason != driver.ReasonConfig || !strings.Contains(e.Error(), tt.want) || strings.Contains(e.Error(), "S3cr3t") {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	// A driver without the option says another thing.
	values, err := driver.ValidateOptions(tlspeer.Specs(), map[string]string{"ssl": "true", tlspeer.OptCertFile: data("cert.pem"), tlspeer.OptKeyFile: data("des3.pem")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tlspeer.From(values); err == nil || !strings.Contains(err.Error(), "nobody can enter the passphrase here") {
		t.Errorf("got %v", err)
	}
}

// TestAMQP1 is what the options of the amqp1 driver ask for.
func TestAMQP1(t *testing.T) {
	for _, tt := range []struct {
		name, vhost string
		options     map[string]string
		tls         bool
		server      string // whom the certificate must be for
	}{
		{name: "nothing"},
		{name: "by name", options: map[string]string{"ssl": "true"}, tls: true, server: "host"},
		{name: "by an authority", options: map[string]string{"ssl_ca_file": data("cert.pem")}, tls: true, server: "host"},
		{name: "by a certificate", options: map[string]string{"ssl_cert_file": data("both.pem"), "ssl_key_password": passphrase}, tls: true, server: "host"},
		{name: "of the virtual host", vhost: "vh", options: map[string]string{"ssl": "true", "ssl_verify_vhost": "true"}, tls: true, server: "vh"},
		{name: "of the host", vhost: "vh", options: map[string]string{"ssl": "true"}, tls: true, server: "host"},
	} {
		s, err := amqp1(t, tt.vhost, tt.options)
		if err != nil || (s != nil) != tt.tls {
			t.Errorf("%s: %v, %v", tt.name, s, err)
		}
		if s == nil {
			continue
		}
		cfg, err := s.Config("host")
		if err != nil || cfg.ServerName != tt.server || cfg.InsecureSkipVerify {
			t.Errorf("%s: %v, %v", tt.name, cfg, err)
		}
	}
	// Upstream checks no name then.
	if _, err := amqp1(t, "", map[string]string{"ssl": "true", "ssl_verify_vhost": "true"}); driver.ReasonOf(err) != driver.ReasonConfig || !strings.Contains(err.Error(), "the URL has no virtual host") {
		t.Errorf("got %v", err)
	}
}

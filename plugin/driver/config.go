// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"log/slog"
	"net"
	"strconv"
)

// Config is what Open needs: a transport URL, taken apart and validated by the core.
type Config struct {
	// Driver is the canonical name, Variant what followed "+" in the scheme.
	Driver  string
	Variant string

	// Hosts are the brokers, in the order of the URL; possibly none.
	Hosts []Host

	// VirtualHost is the URL's path without its first slash, decoded once. HasVirtualHost
	// tells "/" or an empty one that was written from none at all.
	VirtualHost    string
	HasVirtualHost bool

	// Options hold a value for every declared option: the URL's, the application's or the
	// default.
	Options Options

	// AppName names the application to the broker, for its list of connections.
	AppName string

	// Instance names the transport of one application: random, 32 hexadecimal digits. It is the
	// same for every Open of that transport in later processes of the driver, after a crash, a
	// restart or a hot swap, and no other transport has it. Empty from a host that knows no
	// instances.
	Instance string

	// DefaultExchange is the exchange of targets that named none: a driver whose addresses treat
	// those in a way of their own can tell them. Empty from a host that does not tell it.
	DefaultExchange string

	// Logger is never nil when the core calls Open.
	Logger *slog.Logger

	// Report takes the driver's states. It is never nil when the core calls Open, does not
	// block, and may be called from any goroutine until Close returned.
	Report func(State)
}

// Host is one broker of a URL.
type Host struct {
	Name        string // host name or address, without brackets
	Port        int    // zero when the URL has none
	User        string
	Password    Secret
	HasUser     bool
	HasPassword bool
}

// Address returns host:port with def for a missing port, and "localhost" for a missing name.
func (h Host) Address(def int) string {
	name, port := h.Name, h.Port
	if name == "" {
		name = "localhost"
	}
	if port == 0 {
		port = def
	}
	return net.JoinHostPort(name, strconv.Itoa(port))
}

// Secret is a text that formats as "***" everywhere: in logs, errors, %v and JSON. Its value
// is had by Reveal alone, which makes every use easy to find.
type Secret string

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

const masked = "***"

// String returns "***", or nothing for an empty secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return masked
}

// GoString returns the masked form.
func (s Secret) GoString() string { return strconv.Quote(s.String()) }

// MarshalText returns the masked form.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue returns the masked form.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"

	"github.com/parleymq/parley/messaging/internal/host"
	"github.com/parleymq/parley/plugin/driver"
)

// Open returns a Transport for a URL such as
//
//	rabbit://user:password@host1:5672,host2:5672/vhost?heartbeat_timeout_threshold=30
//
// It finds the driver that the scheme names, starts its process unless it runs already, and
// checks the URL's options against those the driver declares. It does not wait for the
// broker: a broker that is away shows in the errors of calls, and [Transport.Ping] asks for it.
//
// ctx bounds Open alone. A wrong URL or option is an error with ErrInvalidURL or ErrConfig, a
// driver that is not found with ErrConfig, one that does not start with ErrUnavailable; none
// of them shows the URL's password.
func Open(ctx context.Context, rawURL string, opts *Options) (*Transport, error) {
	o := opts.withDefaults()
	h := o.host()
	u, err := parseTransportURL(rawURL, o.Aliases, LegacyAliases(), h.declaredAliases(o.Logger))
	if err != nil {
		return nil, err
	}
	states := newStates(o.OnState)
	conn, err := h.inner.Open(ctx, host.OpenRequest{Config: u.config(o, states), Class: isolationClass(o)})
	if err != nil {
		return nil, operation{verb: "open " + u.Driver}.wrap(err)
	}
	t := newTransport(conn, o, states)
	t.url = u
	return t, nil
}

// OpenDriver returns a Transport on a driver that lives in this process, without a process of
// its own: for tests, and for programs that cannot start others. cfg needs what the driver
// needs; what opts has as well is taken from there. ctx bounds OpenDriver alone.
func OpenDriver(ctx context.Context, d driver.Driver, cfg driver.Config, opts *Options) (*Transport, error) {
	o := opts.withDefaults()
	states := newStates(o.OnState)
	cfg.AppName, cfg.DefaultExchange, cfg.Logger, cfg.Report = o.AppName, o.DefaultExchange, o.Logger, states.report
	if cfg.Instance == "" {
		cfg.Instance = newID()
	}
	op := operation{verb: "open " + cfg.Driver}
	info := d.Describe()
	var err error
	if cfg.Options, err = driver.ValidateOptions(info.Options, cfg.Options); err != nil {
		return nil, op.wrap(err)
	}
	conn, err := d.Open(ctx, cfg)
	if err != nil {
		return nil, op.wrap(err)
	}
	t := newTransport(conn, o, states)
	t.info = func() (driver.Info, bool) { return info, true }
	return t, nil
}

// host is the Host that runs the transport's driver.
func (o Options) host() *Host {
	switch {
	case o.Host != nil:
		return o.Host
	case len(o.DriverPath) > 0:
		return NewHost(&HostOptions{DriverPath: o.DriverPath, Logger: o.Logger})
	default:
		return defaultHost()
	}
}

// isolationClass separates the processes of isolated transports: each has a class of its own.
func isolationClass(o Options) string {
	if !o.Isolated {
		return ""
	}
	return newID()
}

// config is the URL as the driver gets it.
func (u *URL) config(o Options, states *states) driver.Config {
	return driver.Config{
		Driver: u.Driver, Variant: u.Variant, Hosts: u.Hosts,
		VirtualHost: u.VirtualHost, HasVirtualHost: u.HasVirtualHost,
		Options: u.Query, AppName: o.AppName, DefaultExchange: o.DefaultExchange, Logger: o.Logger, Report: states.report,
	}
}

// URL is what Open was given, parsed, with aliases resolved. It is nil for a transport made
// by NewTransport.
func (t *Transport) URL() *URL { return t.url }

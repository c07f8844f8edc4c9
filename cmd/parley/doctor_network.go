// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/parleymq/parley/internal/tlspeer"
	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/plugin/driver"
)

// hosts are those of the URL; a driver with a port has localhost when there is none. A driver
// without hosts and port needs no network.
func (x *examination) hosts() []driver.Host {
	if len(x.url.Hosts) == 0 && x.info.DefaultPort != 0 && !x.direct() {
		return []driver.Host{{}}
	}
	var hosts []driver.Host
	for _, h := range x.url.Hosts {
		if h.Port != 0 || x.info.DefaultPort != 0 {
			hosts = append(hosts, h)
		}
	}
	return hosts
}

// finding is what one host was found to be: a failure when err is set, a flaw when only hint is.
type finding struct {
	text, hint string
	err        error
}

func hostFailure(err error, message, hint string) finding {
	return finding{err: &messaging.Error{Code: messaging.CodeUnavailable, Message: message, Hint: hint, Err: err}}
}

// eachHost tries all hosts: one that works is enough, but those that do not are told.
func (x *examination) eachHost(try func(driver.Host) finding) stepResult {
	hosts := x.hosts()
	if len(hosts) == 0 {
		return skippedStep(x.noHosts())
	}
	var good, bad []string
	var first error
	hint := ""
	for _, h := range hosts {
		f := try(h)
		if f.err == nil {
			good = append(good, f.text)
		} else {
			bad = append(bad, describe(f.err, false).Message)
			f.hint = describe(f.err, false).Hint
		}
		if first == nil {
			first = f.err
		}
		if hint == "" {
			hint = f.hint
		}
	}
	detail := strings.Join(append(good, bad...), "; ")
	switch {
	case len(good) == 0 && !x.direct():
		return stepResult{Detail: detail, err: first}
	case hint != "":
		return warnStep(detail, hint)
	default:
		return okStep("%s", detail)
	}
}

func (x *examination) resolve(ctx context.Context) stepResult {
	return x.eachHost(func(h driver.Host) finding {
		name := hostName(h)
		addrs, err := net.DefaultResolver.LookupHost(ctx, name)
		if err != nil {
			return hostFailure(err, err.Error(), "check the host's name in the URL; try: getent hosts "+name)
		}
		if len(addrs) == 1 && addrs[0] == name {
			return finding{text: name + " is an address"}
		}
		return finding{text: name + " is " + strings.Join(addrs, " ")}
	})
}

func hostName(h driver.Host) string {
	if h.Name == "" {
		return "localhost"
	}
	return h.Name
}

func (x *examination) connect(ctx context.Context) stepResult {
	return x.eachHost(func(h driver.Host) finding {
		address := h.Address(x.info.DefaultPort)
		begin := time.Now()
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", address)
		if err != nil {
			return hostFailure(err, err.Error(), x.closedHint(address))
		}
		took := time.Since(begin)
		_ = c.Close() // nothing was written
		return finding{text: fmt.Sprintf("%s in %s", address, took.Round(10*time.Microsecond))}
	})
}

// soonExpired is how long a certificate must hold for nothing to be said.
const soonExpired = 14 * 24 * time.Hour

// secure makes a TLS handshake with each host by the rules that the driver has.
func (x *examination) secure(ctx context.Context) stepResult {
	switch {
	case x.direct():
		return skippedStep(noBroker + " to prove who it is; whether nodes do is up to the driver's options")
	case !x.hasTLS():
		return skippedStep("the driver has no option for TLS")
	case x.tls == nil:
		return skippedStep("the URL asks for no TLS; " + tlspeer.OptEnabled + "=true does")
	}
	return x.eachHost(func(h driver.Host) finding {
		address := h.Address(x.info.DefaultPort)
		seen, err := x.tls.Probe(ctx, address, hostName(h))
		if err != nil {
			e := driver.AsError(err)
			return hostFailure(err, e.Message, e.Hint)
		}
		return certificateFinding(address, seen, time.Now())
	})
}

func certificateFinding(address string, seen tlspeer.Seen, now time.Time) finding {
	left := seen.Expires.Sub(now)
	days := int(left / (24 * time.Hour))
	f := finding{text: fmt.Sprintf("%s speaks %s as %s for %s, %d days left", address, seen.Version, seen.Subject, seen.Names, days)}
	if left < soonExpired {
		f.hint = "renew the certificate of " + address + ": it ends at " + seen.Expires.UTC().Format(time.RFC3339)
	}
	return f
}

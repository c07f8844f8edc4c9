// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/plugin/driver"
)

func okStep(format string, args ...any) stepResult {
	return stepResult{Status: stepOK, Detail: fmt.Sprintf(format, args...)}
}

func failedStep(err error) stepResult { return stepResult{err: err} }

func (x *examination) parse(context.Context) stepResult {
	var err error
	if x.url, err = messaging.ParseURL(x.raw, x.a.aliases); err != nil {
		return failedStep(err)
	}
	return okStep("%s", x.url)
}

func (x *examination) name(context.Context) stepResult {
	base, _, _ := strings.Cut(x.url.Scheme, "+")
	if base == x.url.Driver {
		return okStep("driver %s", x.url.Driver)
	}
	return okStep("driver %s, of which %s is an alias", x.url.Driver, x.url.Scheme)
}

// search looks for the driver's file, without starting it.
func (x *examination) search(context.Context) stepResult {
	var others []string
	for _, f := range x.host.Drivers() {
		switch {
		case f.Name != x.url.Driver:
			others = append(others, f.Name)
		case f.Status != statusShadowed:
			return okStep("%s (%s)%s", f.Path, f.Origin, versionSuffix(f.Version))
		}
	}
	return failedStep(&messaging.Error{
		Code: messaging.CodeUnavailable, Message: fmt.Sprintf("no driver %q is found in %s", x.url.Driver, x.searched()),
		Hint: missingHint(x.url.Driver, others),
	})
}

func versionSuffix(version string) string {
	if version == "" {
		return ""
	}
	return " version " + version
}

func (x *examination) searched() string {
	path := x.host.SearchPath()
	dirs := make([]string, len(path))
	for i, d := range path {
		dirs[i] = d.Path
	}
	return strings.Join(dirs, ", ")
}

func missingHint(name string, others []string) string {
	if near := driver.Nearest(name, others); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return fmt.Sprintf("put the program parley-driver-%s into one of these directories, or name its directory with --driver-path", name)
}

// trust tells whether the file that was found may be started.
func (x *examination) trust(context.Context) stepResult {
	for _, f := range x.host.Drivers() {
		switch {
		case f.Name != x.url.Driver:
		case f.Status == statusChosen:
			return okStep("only its owner can change it")
		case f.Status == statusRefused:
			why, hint, _ := strings.Cut(f.Why, "; ")
			return failedStep(&messaging.Error{Code: messaging.CodeUnavailable, Message: why, Hint: hint})
		}
	}
	return failedStep(&messaging.Error{Code: messaging.CodeUnavailable, Message: "the file is gone", Hint: "try again"})
}

func (x *examination) start(ctx context.Context) stepResult {
	var err error
	if x.info, err = x.host.Describe(ctx, x.url.Driver); err != nil {
		return failedStep(x.a.openError(x.host, x.raw, err))
	}
	return okStep("%s %s: %s", x.info.Name, x.info.Version, x.info.Summary)
}

func (x *examination) options(context.Context) stepResult {
	if _, err := driver.ValidateOptions(x.info.Options, x.url.Query); err != nil {
		e := driver.AsError(err)
		return failedStep(&messaging.Error{Code: messaging.CodeConfig, Message: e.Message, Hint: e.Hint, Err: err})
	}
	return okStep("%d in the URL, %d known", len(x.url.Query), len(x.info.Options))
}

// hosts are those of the URL; a driver with a port has localhost when there is none. A driver
// without hosts and port needs no network.
func (x *examination) hosts() []driver.Host {
	if len(x.url.Hosts) == 0 && x.info.DefaultPort != 0 {
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

func (x *examination) resolve(ctx context.Context) stepResult {
	return x.eachHost(func(h driver.Host) (string, error) {
		name, _, err := net.SplitHostPort(h.Address(x.info.DefaultPort))
		if err != nil {
			return "", err
		}
		addrs, err := net.DefaultResolver.LookupHost(ctx, name)
		if err != nil {
			return "", &messaging.Error{Code: messaging.CodeUnavailable, Message: err.Error(), Err: err,
				Hint: "check the host's name in the URL; try: getent hosts " + name}
		}
		if len(addrs) == 1 && addrs[0] == name {
			return name, nil
		}
		return name + " is " + strings.Join(addrs, " "), nil
	})
}

func (x *examination) connect(ctx context.Context) stepResult {
	return x.eachHost(func(h driver.Host) (string, error) {
		address := h.Address(x.info.DefaultPort)
		begin := time.Now()
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", address)
		if err != nil {
			return "", &messaging.Error{Code: messaging.CodeUnavailable, Message: err.Error(), Err: err,
				Hint: fmt.Sprintf("check that the broker runs and listens at %s, and that no firewall is between", address)}
		}
		took := time.Since(begin)
		if err := c.Close(); err != nil {
			return "", err
		}
		return fmt.Sprintf("%s in %s", address, took.Round(10*time.Microsecond)), nil
	})
}

// eachHost tries all hosts: one that works is enough, but those that do not are told.
func (x *examination) eachHost(try func(driver.Host) (string, error)) stepResult {
	hosts := x.hosts()
	if len(hosts) == 0 {
		return stepResult{Status: stepSkip, Detail: "the URL names no host that could be looked at"}
	}
	var good, bad []string
	var first error
	for _, h := range hosts {
		text, err := try(h)
		if err == nil {
			good = append(good, text)
			continue
		}
		bad = append(bad, describe(err, false).Message)
		if first == nil {
			first = err
		}
	}
	detail := strings.Join(append(good, bad...), "; ")
	switch {
	case len(bad) == 0:
		return okStep("%s", detail)
	case len(good) == 0:
		return stepResult{Detail: detail, err: first}
	default:
		return stepResult{Status: stepWarn, Detail: detail, Hint: describe(first, false).Hint}
	}
}

// login opens the transport that the last steps use, and waits for the broker.
func (x *examination) login(ctx context.Context) stepResult {
	s, err := x.a.open(ctx, x.host, temporary(x.raw, x.url, x.info))
	if err != nil {
		return failedStep(err)
	}
	x.transport = s.Transport
	x.closeAll = append(x.closeAll, s.close)
	err = s.Ping(ctx)
	if errors.Is(err, messaging.ErrUnsupported) {
		return stepResult{Status: stepSkip, Detail: "the driver has no way to ask its broker"}
	}
	if err != nil {
		return failedStep(unavailable(err))
	}
	return okStep("%s, virtual host %s", x.loggedIn(), x.virtualHost())
}

// unavailable makes a bare timeout the broker's fault.
func unavailable(err error) error {
	if messaging.CodeOf(err) != "" || !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &messaging.Error{Code: messaging.CodeUnavailable, Message: "the broker did not answer in time", Err: err}
}

func (x *examination) loggedIn() string {
	if hosts := x.url.Hosts; len(hosts) > 0 && hosts[0].HasUser {
		return "the broker lets in user " + hosts[0].User
	}
	return "the broker answers"
}

func (x *examination) virtualHost() string {
	if x.url.VirtualHost == "" {
		return "/"
	}
	return x.url.VirtualHost
}

// temporaryOptions make what a driver declares at its broker go away when it is not used.
func temporaryOptions() map[string]string { return map[string]string{"amqp_auto_delete": "true"} }

// temporary returns the URL with the options that leave nothing behind, where the driver has
// such, unless the URL says otherwise.
func temporary(raw string, u *messaging.URL, info driver.Info) string {
	raw, _, _ = strings.Cut(raw, "#")
	for _, spec := range info.Options {
		value, ok := temporaryOptions()[spec.Name]
		if _, given := u.Query[spec.Name]; !ok || given {
			continue
		}
		separator := "?"
		if strings.Contains(raw, "?") {
			separator = "&"
		}
		raw += separator + spec.Name + "=" + value
	}
	return raw
}

// privateTarget is one that nobody else uses, with an exchange of its own.
func privateTarget(purpose string) messaging.Target {
	name := "parley-" + purpose + "-" + strings.ToLower(rand.Text()[:12])
	return messaging.Target{Exchange: name, Topic: name, Server: purpose}
}

// listen starts a server on a private topic.
func (x *examination) listen(ctx context.Context) stepResult {
	target := privateTarget("doctor")
	ep := messaging.NewEndpoint(nil)
	serveEcho(ep)
	srv := messaging.NewRPCServer(x.transport, target, nil, ep)
	stop, err := startServing(ctx, srv)
	if err != nil {
		return failedStep(err)
	}
	x.closeAll = append(x.closeAll, stop)
	x.target = target
	return okStep("topic %s is declared and consumed", target.Topic)
}

// call sends a call to the server that listen started.
func (x *examination) call(ctx context.Context) stepResult {
	client := messaging.NewRPCClient(x.transport, messaging.Target{Exchange: x.target.Exchange, Topic: x.target.Topic}, nil)
	want := rand.Text()
	var reply map[string]any
	if err := client.Call(ctx, "echo", map[string]any{"text": want}, &reply); err != nil {
		return failedStep(err)
	}
	if reply["text"] != want {
		return failedStep(&messaging.Error{Code: messaging.CodeInternal, Message: "another answer came back than was sent",
			Hint: "somebody else serves this topic, or the driver mixes up its messages"})
	}
	return okStep("published, consumed and answered")
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"slices"
	"strings"

	amqp "github.com/Azure/go-amqp"

	"github.com/parleymq/parley/internal/tlspeer"
	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/qpid/internal/amqpopen"
)

// The mechanisms of SASL that the AMQP library has and that need nothing else.
const (
	mechPlain     = "PLAIN"
	mechAnonymous = "ANONYMOUS"
	mechExternal  = "EXTERNAL"
)

func knownMechanisms() []string { return []string{mechPlain, mechAnonymous, mechExternal} }

// loginSettings are the options about SASL.
type loginSettings struct {
	mechanisms    []string // empty when the option is
	realm         string
	allowInsecure bool
}

// newLogin reads the options about SASL. What cannot be honoured is refused: an operator that asks
// for GSSAPI must not get something else.
func newLogin(o driver.Options, s *settings) (loginSettings, error) {
	for _, name := range []string{optConfigDir, optConfigName} {
		if o.String(name) != "" {
			return loginSettings{}, driver.Errorf(driver.ReasonConfig, "option %s=%q: this driver does not use Cyrus SASL, which it is for", name, o.String(name)).
				WithHint("leave it out, and name the mechanisms in %s: %s", optMechanisms, strings.Join(knownMechanisms(), ", "))
		}
	}
	l := loginSettings{realm: o.String(optRealm), allowInsecure: o.Bool(optAllowInsecure)}
	asked := words(strings.ToUpper(o.String(optMechanisms)))
	for _, m := range asked {
		switch {
		case !slices.Contains(knownMechanisms(), m):
			s.log.Warn("a SASL mechanism is left out: this driver has it not", "option", optMechanisms, "mechanism", m)
		case !slices.Contains(l.mechanisms, m):
			l.mechanisms = append(l.mechanisms, m)
		}
	}
	if len(asked) > 0 && len(l.mechanisms) == 0 {
		return l, driver.Errorf(driver.ReasonConfig, "option %s=%q: this driver has none of them", optMechanisms, o.String(optMechanisms)).
			WithHint("it has %s", strings.Join(knownMechanisms(), ", "))
	}
	return l, l.check(s)
}

// check looks for what the mechanisms need.
func (l loginSettings) check(s *settings) error {
	if len(l.mechanisms) != 1 {
		return nil
	}
	switch l.mechanisms[0] {
	case mechPlain:
		for _, h := range s.hosts {
			if h.User == "" {
				return driver.Errorf(driver.ReasonConfig, "option %s=%s needs a user, and the URL has none for %s", optMechanisms, mechPlain, h.Address(defaultPort)).
					WithHint("write user:password@ before the host")
			}
		}
	case mechExternal:
		if s.tls == nil || !s.tls.HasCertificate() {
			return driver.Errorf(driver.ReasonConfig, "option %s=%s needs a client certificate", optMechanisms, mechExternal).
				WithHint("name one in %s and %s", tlspeer.OptCertFile, tlspeer.OptKeyFile)
		}
	}
	return nil
}

// forHost are the mechanisms that are used for a host: none at all, and no SASL layer, without a user
// and without the option, as upstream does.
func (l loginSettings) forHost(h driver.Host) []string {
	switch {
	case len(l.mechanisms) == 0 && h.User == "":
		return nil
	case len(l.mechanisms) == 0:
		return []string{mechPlain}
	case h.User == "":
		return slices.DeleteFunc(slices.Clone(l.mechanisms), func(m string) bool { return m == mechPlain })
	default:
		return l.mechanisms
	}
}

// user is that of the URL, with the realm if it has none.
func (l loginSettings) user(h driver.Host) string {
	if h.User == "" || l.realm == "" || strings.Contains(h.User, "@") {
		return h.User
	}
	return h.User + "@" + l.realm
}

// sasl returns what logs in to h over c, nil for no SASL. A password is not sent in the clear to
// another machine unless that is allowed.
func (l loginSettings) sasl(h driver.Host, c net.Conn, secure bool) (amqp.SASLType, *driver.Error) {
	mechanisms := l.forHost(h)
	if len(mechanisms) == 0 {
		return nil, nil
	}
	var all []amqp.SASLType
	for _, m := range mechanisms {
		switch m {
		case mechPlain:
			if !secure && !l.allowInsecure && !isLoopback(c.RemoteAddr()) {
				return nil, driver.Errorf(driver.ReasonConfig, "the password is not sent to %s: the connection is not encrypted", h.Address(defaultPort)).
					WithHint("speak TLS with %s=true, or set %s=true to send it in the clear", tlspeer.OptEnabled, optAllowInsecure)
			}
			all = append(all, amqp.SASLTypePlain(l.user(h), h.Password.Reveal()))
		case mechAnonymous:
			all = append(all, amqp.SASLTypeAnonymous())
		case mechExternal:
			all = append(all, amqp.SASLTypeExternal(l.user(h)))
		}
	}
	// The peer lists what it has, in its order; the first that is among these is used.
	return func(c *amqp.Conn) error {
		for _, t := range all {
			if err := t(c); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// isLoopback reports whether what is sent to a stays on this machine.
func isLoopback(a net.Addr) bool {
	t, ok := a.(*net.TCPAddr)
	return ok && t.IP.IsLoopback()
}

// refusal is why the peer's answer to the login is none that helps, nil when it did not come to that.
func (l loginSettings) refusal(host string, h driver.Host, peer amqpopen.Peer) *driver.Error {
	asked := l.forHost(h)
	refused := func(format string, args ...any) *driver.Error {
		return driver.Errorf(driver.ReasonAuthRefused, format, args...)
	}
	switch {
	case len(asked) == 0 && peer.HeaderID() == amqpopen.HeaderSASL:
		return refused("%s wants a login, and the URL has no user", host).
			WithHint("write user:password@ before the host, or set %s=%s if the peer lets everybody in", optMechanisms, mechAnonymous)
	case len(asked) > 0 && peer.HeaderID() == amqpopen.HeaderAMQP && peer.Mechanisms == nil:
		return refused("%s has no login, and %s is to be used", host, strings.Join(asked, ", ")).
			WithHint("leave the user and %s out of the URL, or let the peer ask for a login", optMechanisms)
	case peer.Mechanisms != nil && !anyOf(asked, peer.Mechanisms):
		return refused("%s offers %s to log in with, and not %s", host, offer(peer.Mechanisms), strings.Join(asked, ", ")).
			WithHint("%s", l.offerHint(peer.Mechanisms))
	case peer.OutcomeFailed():
		return l.outcome(host, h, peer)
	}
	return nil
}

// outcome is the answer to a login that failed.
func (l loginSettings) outcome(host string, h driver.Host, peer amqpopen.Peer) *driver.Error {
	if peer.Outcome == amqpopen.OutcomeTemporary {
		return driver.Errorf(driver.ReasonNotConnected, "%s cannot check the login now", host).
			WithHint("the peer's log may say why")
	}
	used := mechExternal
	for _, m := range peer.Mechanisms { // the library takes the first of the peer's that we have
		if slices.Contains(l.forHost(h), m) {
			used = m
			break
		}
	}
	switch used {
	case mechPlain:
		return driver.Errorf(driver.ReasonAuthRefused, "%s refused the login of user %q", host, l.user(h)).
			WithHint("check user and password in the URL")
	case mechExternal:
		return driver.Errorf(driver.ReasonAuthRefused, "%s refused the login by certificate", host).
			WithHint("show a certificate that it takes, by %s and %s", tlspeer.OptCertFile, tlspeer.OptKeyFile)
	default:
		return driver.Errorf(driver.ReasonAuthRefused, "%s refused the login with %s", host, used).
			WithHint("write user:password@ before the host")
	}
}

func (l loginSettings) offerHint(offered []string) string {
	var ours []string
	for _, m := range offered {
		if slices.Contains(knownMechanisms(), m) {
			ours = append(ours, m)
		}
	}
	if len(ours) == 0 {
		return "let the peer offer one of " + strings.Join(knownMechanisms(), ", ") +
			"; some brokers offer PLAIN only over TLS unless they are told to"
	}
	return "set " + optMechanisms + " to one of " + strings.Join(ours, ", ")
}

// offer is the list of the peer, for people.
func offer(mechanisms []string) string {
	if len(mechanisms) == 0 {
		return "nothing"
	}
	return foreign(strings.Join(mechanisms, ", "))
}

func anyOf(some, all []string) bool {
	return slices.ContainsFunc(some, func(s string) bool { return slices.Contains(all, s) })
}

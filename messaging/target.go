// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/parleymq/parley/plugin/driver"
)

// Target says where a message goes, or what a server receives. It is upstream's
// oslo_messaging/target.py; an empty field is one that is not set.
//
//	used by                exchange  topic     namespace  version   server    fanout
//	RPC server             optional  required  –          –         required  –
//	RPC client, call       optional  required  optional   optional  optional  –
//	RPC client, cast       optional  required  optional   optional  optional  optional
//	endpoint               –         –         optional   optional  –         –
//	notifier               optional  required  –          –         –         –
//	notification listener  optional  required  –          –         –         –
//
// A field marked – is refused: upstream ignores it, which hides mistakes. Server and Fanout
// exclude each other. Everything is checked before any I/O, and a driver never checks again.
//
// Texts are UTF-8 without control characters. Topic and Server together have at most 200
// bytes, so that every queue name and routing key made of them fits the 255 bytes AMQP 0-9-1
// has for a name; Exchange has at most 127 bytes, Namespace 255. No word of a Topic or Server
// is "*" or "#", which would be wildcards at a broker.
type Target struct {
	// Exchange is the scope of the topic; empty means [Options.DefaultExchange]. How far it keeps
	// topics apart is the wire's: upstream's names the queue of a topic by the topic alone
	// (oslo_messaging/_drivers/impl_rabbit.py, declare_topic_consumer), so that on RabbitMQ servers
	// of one topic in two exchanges share their requests. Give services topics of their own.
	Exchange string
	// Topic names a service. Servers of one topic share its messages.
	Topic string
	// Namespace tells interfaces of one topic apart; empty is the null namespace.
	Namespace string
	// Version is the version of the interface: major.minor[.revision].
	Version string
	// Server names one server of the topic; empty is any of them.
	Server string
	// Fanout addresses every server of the topic.
	Fanout bool
}

// String lists the fields that are set, for logs and errors.
func (t Target) String() string {
	var b strings.Builder
	put := func(name, value string) {
		if value == "" {
			return
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(name)
		b.WriteByte('=')
		b.WriteString(quoteIfNeeded(value))
	}
	put("exchange", t.Exchange)
	put("topic", t.Topic)
	put("namespace", t.Namespace)
	put("version", t.Version)
	put("server", t.Server)
	if t.Fanout {
		put("fanout", "true")
	}
	return "<" + b.String() + ">"
}

func quoteIfNeeded(s string) string {
	for _, r := range s {
		if !unicode.IsPrint(r) || r == ' ' || r == utf8.RuneError {
			return fmt.Sprintf("%q", s)
		}
	}
	return s
}

// Limits of a target's texts, in bytes. The longest name a driver makes of a topic has 40
// bytes more than the topic ("_fanout_" and a uuid), and AMQP 0-9-1 has 255 bytes for it.
const (
	maxExchange       = 127
	maxTopicAndServer = 200
	maxNamespace      = 255
)

// role is a use of a target.
type role uint8

const (
	roleServer role = iota
	roleCall
	roleCast
	roleEndpoint
	roleNotifier
	roleNotificationListener
)

// need is what a role says of a field.
type need uint8

const (
	optional need = iota
	required
	refused
)

// targetRule is one row of the table of preconditions.
type targetRule struct {
	name                                                string
	exchange, topic, namespace, version, server, fanout need
	// instead says what to do with a field that is refused, by field name.
	instead map[string]string
}

// targetRuleOf is the table of preconditions; there is no other place that checks a target.
func targetRuleOf(r role) targetRule {
	onEndpoint := "set it on the endpoints, in EndpointOptions"
	switch r {
	case roleServer:
		return targetRule{name: "an RPC server", topic: required, server: required,
			namespace: refused, version: refused, fanout: refused,
			instead: map[string]string{"namespace": onEndpoint, "version": onEndpoint,
				"fanout": "leave it out: a server always hears the fanout of its topic"}}
	case roleCall:
		return targetRule{name: "a call", topic: required, fanout: refused,
			instead: map[string]string{"fanout": "a call has one answer: use Cast, or address one server"}}
	case roleCast:
		return targetRule{name: "a cast", topic: required}
	case roleEndpoint:
		onServer := "set it on the server's target"
		return targetRule{name: "an endpoint", exchange: refused, topic: refused, server: refused, fanout: refused,
			instead: map[string]string{"exchange": onServer, "topic": onServer, "server": onServer, "fanout": "leave it out"}}
	case roleNotifier:
		return notificationRule("a notifier")
	default:
		return notificationRule("a notification listener")
	}
}

func notificationRule(name string) targetRule {
	return targetRule{name: name, topic: required,
		namespace: refused, version: refused, server: refused, fanout: refused,
		instead: map[string]string{"namespace": "leave it out", "version": "leave it out",
			"server": "leave it out", "fanout": "leave it out: every pool gets a copy"}}
}

// validate checks the target for a role. The first problem is returned as an *Error with
// CodeInvalidTarget that names field and role and says what to do.
func (t Target) validate(r role) error {
	rule := targetRuleOf(r)
	fields := [...]struct {
		name, value string
		need        need
	}{
		{"exchange", t.Exchange, rule.exchange},
		{"topic", t.Topic, rule.topic},
		{"namespace", t.Namespace, rule.namespace},
		{"version", t.Version, rule.version},
		{"server", t.Server, rule.server},
		{"fanout", fanoutText(t.Fanout), rule.fanout},
	}
	for _, f := range fields {
		switch {
		case f.need == required && f.value == "":
			return t.invalid(fmt.Sprintf("%s needs a %s", rule.name, f.name), "set Target."+fieldName(f.name))
		case f.need == refused && f.value != "":
			return t.invalid(fmt.Sprintf("%s has no %s", rule.name, f.name), rule.instead[f.name])
		}
		if problem, hint := textProblem(f.value); problem != "" {
			return t.invalid(fmt.Sprintf("the %s of %s %s", f.name, rule.name, problem), hint)
		}
	}
	return t.validateTogether(rule)
}

// validateTogether checks what is not about one field alone.
func (t Target) validateTogether(rule targetRule) error {
	tooLong := func(what string, limit int) error {
		return t.invalid(fmt.Sprintf("the %s of %s is longer than %d bytes", what, rule.name, limit), "choose a shorter name")
	}
	switch {
	case t.Server != "" && t.Fanout:
		return t.invalid(rule.name+" has both server and fanout", "address one server or all of them")
	case len(t.Exchange) > maxExchange:
		return tooLong("exchange", maxExchange)
	case len(t.Topic)+len(t.Server) > maxTopicAndServer:
		return tooLong("topic with its server", maxTopicAndServer)
	case len(t.Namespace) > maxNamespace:
		return tooLong("namespace", maxNamespace)
	case hasWildcard(t.Topic):
		return t.invalid("the topic of "+rule.name+" has a wildcard", `no word between dots may be "*" or "#"`)
	case hasWildcard(t.Server):
		return t.invalid("the server of "+rule.name+" has a wildcard", `no word between dots may be "*" or "#"`)
	}
	if t.Version != "" {
		if _, err := parseVersion(t.Version); err != nil {
			return t.invalid(fmt.Sprintf("the version of %s is not a version", rule.name), err.Error())
		}
	}
	return nil
}

// invalid makes the error, which shows the target with its long texts cut.
func (t Target) invalid(message, hint string) error {
	shown := t
	for _, s := range []*string{&shown.Exchange, &shown.Topic, &shown.Namespace, &shown.Version, &shown.Server} {
		*s = truncate(*s, 64)
	}
	return &Error{Code: CodeInvalidTarget, Op: "target", Target: shown, Message: message, Hint: hint}
}

func fanoutText(fanout bool) string {
	if fanout {
		return "true"
	}
	return ""
}

func fieldName(name string) string { return strings.ToUpper(name[:1]) + name[1:] }

// textProblem says what is wrong with a text of a target, if anything.
func textProblem(s string) (problem, hint string) {
	if !utf8.ValidString(s) {
		return "is not UTF-8", "names are UTF-8 text"
	}
	if strings.ContainsFunc(s, unicode.IsControl) {
		return "has a control character", "remove it"
	}
	return "", ""
}

// hasWildcard reports whether a word of a name would be a wildcard of an AMQP binding key.
func hasWildcard(name string) bool {
	if !strings.ContainsAny(name, "*#") {
		return false
	}
	for word := range strings.SplitSeq(name, ".") {
		if word == "*" || word == "#" {
			return true
		}
	}
	return false
}

// truncate cuts s after at most n bytes, at a boundary of characters, and marks the cut.
func truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

// address is the target as drivers see it.
func (t Target) address(defaultExchange string) driver.Target {
	exchange := t.Exchange
	if exchange == "" {
		exchange = defaultExchange
	}
	return driver.Target{Exchange: exchange, Topic: t.Topic, Server: t.Server, Fanout: t.Fanout}
}

// SPDX-License-Identifier: Apache-2.0

package messagingotel

import (
	"strings"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/parleymq/parley/messaging"
)

const (
	// system names oslo.messaging's protocol: the conventions list no such system.
	system = "oslo_messaging"
	// other stands for methods that the server does not have: their names are any peer's word
	// and would make as many kinds of spans.
	other = "_OTHER"
)

// method is a remote method as the conventions see it.
type method struct {
	// name is the fully qualified name, or other.
	name string
	// original is the name as received, set with other.
	original string
	topic    string
}

func methodOf(t messaging.Target, name string) method {
	if t.Namespace != "" {
		name = t.Namespace + "." + name
	}
	return method{name: shorten(t.Topic + "/" + name), topic: t.Topic}
}

// served is the method of a request received. The target is the server's, the namespace the
// request's.
func served(r *messaging.ServerRequest) method {
	t := r.Target
	t.Namespace = r.Namespace
	m := methodOf(t, r.Method)
	if !r.Found {
		m.original, m.name = m.name, other
	}
	return m
}

func (m method) spanName() string {
	if m.name == other {
		return system
	}
	return m.name
}

func (m method) attributes(call bool) []attribute.KeyValue {
	operation := "cast"
	if call {
		operation = "call"
	}
	attrs := []attribute.KeyValue{
		semconv.RPCSystemNameKey.String(system),
		semconv.RPCMethod(m.name),
		semconv.MessagingSystemKey.String(system),
		semconv.MessagingDestinationName(m.topic),
		semconv.MessagingOperationName(operation),
	}
	if m.original != "" {
		attrs = append(attrs, semconv.RPCMethodOriginal(m.original))
	}
	return attrs
}

// maxText is how much of a text a span shows, in bytes: many are a peer's.
const maxText = 256

// shorten makes a text fit for an attribute, which is UTF-8.
func shorten(s string) string {
	if len(s) <= maxText {
		return strings.ToValidUTF8(s, string(utf8.RuneError))
	}
	return strings.ToValidUTF8(s[:maxText], "") + "…"
}

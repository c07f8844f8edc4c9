// SPDX-License-Identifier: Apache-2.0

package messagingcloudevents

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/parleymq/parley/messaging"
)

// Options are the settings of [ToEvent] and [FromEvent]; both sides need the same. Nil, and every
// zero field, mean the default.
type Options struct {
	// Source is the source of all events, a URI reference. Default: the publisher id as one.
	Source string
	// ContextKeys are the keys of the request context that become attributes, in lower case and
	// without "_" and "-": request_id is requestid. Their values must be text. Default: none; events
	// are read by many, so name none that is a secret.
	ContextKeys []string
}

// The attributes that this package adds.
const (
	attrPriority    = "priority"
	attrPublisherID = "publisherid"
	attrTraceParent = "traceparent"
	attrTraceState  = "tracestate"
)

// traceHeaders are the headers that are attributes too, by the distributed tracing extension.
func traceHeaders() []string { return []string{attrTraceParent, attrTraceState} }

// contextKeys returns the keys of the request context by their attributes.
func (o *Options) contextKeys() (map[string]string, error) {
	if o == nil {
		return nil, nil
	}
	reserved := append([]string{
		"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "data", "database64",
		attrPriority, attrPublisherID,
	}, traceHeaders()...)
	keys := make(map[string]string)
	for _, key := range o.ContextKeys {
		attr := strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(key))
		switch other, twice := keys[attr]; {
		case !event.IsExtensionNameValid(attr):
			return nil, wrongOption("the context key %q cannot be an attribute: it has more than letters, digits, \"_\" and \"-\"", key)
		case slices.Contains(reserved, attr):
			return nil, wrongOption("the context key %q cannot be an attribute: %s is another", key, attr)
		case twice && other != key:
			return nil, wrongOption("the context keys %q and %q are the same attribute", other, key)
		}
		keys[attr] = key
	}
	return keys, nil
}

func wrongOption(format string, args ...any) error {
	return &messaging.Error{Code: messaging.CodeConfig, Op: "CloudEvents options", Message: fmt.Sprintf(format, args...)}
}

// refused is why something cannot be an event, or an event something.
func refused(hint, format string, args ...any) error {
	return &messaging.Error{Code: messaging.CodeEncoding, Op: "CloudEvent", Message: fmt.Sprintf(format, args...), Hint: hint}
}

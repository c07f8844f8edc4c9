// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"fmt"
	"maps"
	"regexp"
	"slices"

	"github.com/parleymq/parley/internal/pyjson"
)

// NotificationFilter says which notifications an endpoint takes: upstream's
// (oslo_messaging/notify/filter.py). Every text is a regular expression of package regexp that must
// match from the start of the value, as Python's re.match does, and need not reach its end. Those of
// a map are for the values of its keys at the top level; all of them must match. A value that is
// missing, null or no text matches nothing.
type NotificationFilter struct {
	// PublisherID and EventType are for these fields. Empty ones take everything.
	PublisherID string
	EventType   string
	// Context is for the request context. An empty expression wants a text, and takes any.
	Context map[string]string
	// Metadata is for message_id and timestamp, as on the wire. There are no other keys.
	Metadata map[string]string
	// Payload is for a payload that is an object.
	Payload map[string]string
}

// filter is a NotificationFilter whose expressions are compiled; nil takes everything.
type filter struct {
	publisherID, eventType     *regexp.Regexp
	context, metadata, payload []keyFilter
}

type keyFilter struct {
	key   string
	value *regexp.Regexp
}

// compile fails with ErrConfig for an expression that is none.
func (f *NotificationFilter) compile() (*filter, error) {
	if f == nil {
		return nil, nil
	}
	c := &filter{}
	var err error
	for _, part := range []struct {
		name, expr string
		to         **regexp.Regexp
	}{{"publisher id", f.PublisherID, &c.publisherID}, {"event type", f.EventType, &c.eventType}} {
		if part.expr == "" {
			continue
		}
		if *part.to, err = anchored(part.name, part.expr); err != nil {
			return nil, err
		}
	}
	for _, part := range []struct {
		name string
		from map[string]string
		to   *[]keyFilter
	}{{"context", f.Context, &c.context}, {"metadata", f.Metadata, &c.metadata}, {"payload", f.Payload, &c.payload}} {
		for _, key := range slices.Sorted(maps.Keys(part.from)) {
			value, err := anchored(part.name+" key "+key, part.from[key])
			if err != nil {
				return nil, err
			}
			*part.to = append(*part.to, keyFilter{key, value})
		}
	}
	return c, nil
}

// anchored compiles an expression that matches from the start.
func anchored(what, expr string) (*regexp.Regexp, error) {
	if _, err := regexp.Compile(expr); err != nil {
		return nil, &Error{Code: CodeConfig, Op: "filter", Message: fmt.Sprintf("the expression for the %s: %v", truncate(what, 64), err),
			Hint: "expressions are those of Go's package regexp: Python's look-around and backreferences are not among them", Err: err}
	}
	return regexp.Compile(`\A(?:` + expr + `)`)
}

// takes reports whether n passes.
func (f *filter) takes(n *Notification) bool {
	switch {
	case f == nil:
		return true
	case f.publisherID != nil && !matches(f.publisherID, n.PublisherID):
		return false
	case f.eventType != nil && !matches(f.eventType, n.EventType):
		return false
	default:
		return f.takesMetadata(n) && f.takesContext(n) && f.takesPayload(n)
	}
}

// matches reports whether a text is there and matches.
func matches(expr *regexp.Regexp, text string) bool { return text != "" && expr.MatchString(text) }

func (f *filter) takesMetadata(n *Notification) bool {
	for _, k := range f.metadata {
		var text string
		switch k.key {
		case "message_id":
			text = n.MessageID
		case "timestamp":
			text = n.timestamp
		}
		if !matches(k.value, text) {
			return false
		}
	}
	return true
}

func (f *filter) takesContext(n *Notification) bool {
	for _, k := range f.context {
		text, ok := n.Context[k.key].(string)
		if !ok || !k.value.MatchString(text) {
			return false
		}
	}
	return true
}

// takesPayload looks at the payload, of which only what is asked for is decoded.
func (f *filter) takesPayload(n *Notification) bool {
	if len(f.payload) == 0 {
		return true
	}
	fields, err := pyjson.Fields(nil, n.Payload)
	if err != nil {
		return false
	}
	for _, k := range f.payload {
		if !k.takesField(fields) {
			return false
		}
	}
	return true
}

// takesField looks at the field of its key: the last one, as Python has it.
func (k *keyFilter) takesField(fields []pyjson.Field) bool {
	for _, f := range slices.Backward(fields) {
		if string(f.Key) != k.key {
			continue
		}
		var text string
		return pyjson.IsString(f.Value) && textField(&text, f) == nil && k.value.MatchString(text)
	}
	return false
}

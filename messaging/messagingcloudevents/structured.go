// SPDX-License-Identifier: Apache-2.0

package messagingcloudevents

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"

	"github.com/parleymq/parley/internal/pyjson"
	"github.com/parleymq/parley/messaging"
)

// maxAttributes is how many attributes an event may have.
const maxAttributes = 256

// Notify sends an event: as the payload of a notification, in the structured JSON form, with the
// event's type as the event type, at the event's priority if it has one, or else info. It fails as
// [messaging.Notifier.Notify] does, and with [messaging.ErrEncoding] when the event is not valid.
func Notify(ctx context.Context, n *messaging.Notifier, e event.Event) error {
	p, err := priorityOf(&e)
	if err != nil {
		return err
	}
	text, err := encode(e)
	if err != nil {
		return err
	}
	return n.Notify(ctx, p, e.Type(), text)
}

// encode returns the structured form of an event.
func encode(e event.Event) (json.RawMessage, error) {
	if err := check(&e); err != nil {
		return nil, err
	}
	inJSON := isJSON(e.DataContentType())
	switch {
	case e.DataEncoded == nil || e.DataBase64:
	case inJSON && !json.Valid(e.DataEncoded):
		return nil, refused("", "the event's data is not JSON, which its datacontenttype says")
	case !inJSON && !utf8.Valid(e.DataEncoded):
		e.DataBase64 = true
	}
	var text bytes.Buffer
	if err := event.WriteJson(&e, &text); err != nil {
		return nil, refused("", "the event cannot be encoded: %v", err)
	}
	return text.Bytes(), nil
}

// Decode reads the event that is the payload of a notification, as [Notify] sends it. It fails with
// [messaging.ErrEncoding] when the payload is no structured CloudEvent of the version 1.0.
func Decode(n *messaging.Notification) (event.Event, error) {
	return decode(n.Payload)
}

// decode reads an event. It does not use the SDK's reader, which panics on some input and ends
// silently at an empty key.
func decode(text []byte) (event.Event, error) {
	fields, err := pyjson.Fields(nil, text)
	if err != nil {
		return event.Event{}, refused("", "it is not a JSON object: %v", err)
	}
	if len(fields) > maxAttributes {
		return event.Event{}, refused("", "it has more than %d attributes", maxAttributes)
	}
	d := decoder{e: event.New(event.CloudEventsVersionV1), values: make(map[string][]byte)}
	for _, f := range fields {
		name := string(f.Key)
		if _, twice := d.values[name]; twice {
			return event.Event{}, refused("", "it has %s twice", shown(name))
		}
		d.values[name] = f.Value
	}
	for _, step := range []func() error{d.version, d.attributes, d.data} {
		if err := step(); err != nil {
			return event.Event{}, err
		}
	}
	return d.e, check(&d.e)
}

// decoder makes an event of a JSON object.
type decoder struct {
	e      event.Event
	values map[string][]byte
}

func (d *decoder) version() error {
	version, ok, err := d.text("specversion")
	switch {
	case err != nil:
		return err
	case !ok:
		return refused("", "it has no specversion: it is no CloudEvent")
	case version != event.CloudEventsVersionV1:
		return refused("", "its specversion is %s, not 1.0", shown(version))
	}
	return nil
}

// text returns an attribute that is text; one that is null is not there.
func (d *decoder) text(name string) (string, bool, error) {
	value, ok := d.values[name]
	if !ok || pyjson.IsNull(value) {
		return "", false, nil
	}
	if !pyjson.IsString(value) {
		return "", false, refused("", "its %s is not text", name)
	}
	b, err := pyjson.Unquote(nil, value)
	if err != nil {
		return "", false, refused("", "its %s cannot be read: %v", name, err)
	}
	return string(b), true, nil
}

// attributes sets all but specversion and data.
func (d *decoder) attributes() error {
	for name, value := range d.values {
		switch name {
		case "specversion", "data", "data_base64":
			continue
		case "id", "source", "type", "subject", "time", "datacontenttype", "dataschema":
			v, ok, err := d.text(name)
			if err != nil {
				return err
			}
			if ok {
				err = d.known(name, v)
			}
			if err != nil {
				return err
			}
		default:
			if err := d.extension(name, value); err != nil {
				return err
			}
		}
	}
	return nil
}

// known sets one of the attributes that the specification names.
func (d *decoder) known(name, v string) error {
	c := d.e.Context
	var err error
	switch name {
	case "id":
		err = c.SetID(v)
	case "source":
		err = c.SetSource(v)
	case "type":
		err = c.SetType(v)
	case "subject":
		err = c.SetSubject(v)
	case "datacontenttype":
		err = c.SetDataContentType(v)
	case "dataschema":
		err = c.SetDataSchema(v)
	case "time":
		t, timeErr := types.ParseTime(v)
		if timeErr != nil {
			return refused("it is RFC 3339", "its time %s cannot be read", shown(v))
		}
		err = c.SetTime(t.UTC())
	}
	if err == nil && v == "" {
		return refused("", "its %s is empty", name)
	}
	if set := map[string]string{"source": d.e.Source(), "dataschema": d.e.DataSchema()}; err == nil && (name == "source" || name == "dataschema") && !strings.EqualFold(set[name], v) {
		return refused("escape what a URI does not have", "its %s %s is not written as a URI reference", name, shown(v))
	}
	if err != nil {
		return refused("", "its %s %s is wrong: %v", name, shown(v), err)
	}
	return nil
}

// extension sets another attribute: text, a boolean, or an integer.
func (d *decoder) extension(name string, value []byte) error {
	if name != strings.ToLower(name) { // two would become one
		return refused("names are lower case letters and digits", "it has an attribute %s", shown(name))
	}
	var v any
	switch {
	case pyjson.IsNull(value):
		return nil
	case pyjson.IsString(value):
		text, err := pyjson.Unquote(nil, value)
		if err != nil {
			return refused("", "its %s cannot be read: %v", shown(name), err)
		}
		v = string(text)
	case string(value) == "true" || string(value) == "false":
		v = value[0] == 't'
	default:
		i, err := strconv.ParseInt(string(value), 10, 32)
		if err != nil {
			return refused("attributes are text, booleans, or integers of 32 bits", "its %s is none of an attribute's types", shown(name))
		}
		v = int32(i)
	}
	if err := d.e.Context.SetExtension(name, v); err != nil {
		return refused("", "its %s is wrong: %v", shown(name), err)
	}
	return nil
}

func (d *decoder) data() error {
	value, there := d.values["data"]
	encoded, isBase64, err := d.text("data_base64")
	switch {
	case err != nil:
		return err
	case there && isBase64:
		return refused("", "it has both data and data_base64")
	case isBase64:
		d.e.DataBase64 = true
		if d.e.DataEncoded, err = base64.StdEncoding.DecodeString(encoded); err != nil {
			return refused("", "its data_base64 cannot be read: %v", err)
		}
	case !there:
	case isJSON(d.e.DataContentType()), isOtherJSON(d.e.DataContentType()) && !pyjson.IsString(value):
		if !json.Valid(value) {
			return refused("NaN and Infinity are not JSON", "its data is not JSON")
		}
		d.e.DataEncoded = bytes.Clone(value)
	default:
		text, ok, err := d.text("data")
		if err != nil {
			return refused("", "its data is not text, and its datacontenttype is not JSON")
		}
		if ok {
			d.e.DataEncoded = []byte(text)
		}
	}
	return nil
}

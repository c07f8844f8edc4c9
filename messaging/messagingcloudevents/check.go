// SPDX-License-Identifier: Apache-2.0

package messagingcloudevents

import (
	"errors"
	"fmt"
	"mime"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"
)

// jsonType is the media type of payloads.
const jsonType = event.ApplicationJSON

// textProblem is why a text is no String of CloudEvents; nil when it is one.
func textProblem(s string) error {
	switch {
	case !utf8.ValidString(s):
		return errors.New("is not UTF-8")
	case strings.ContainsFunc(s, unicode.IsControl):
		return errors.New("has a control character")
	default:
		return nil
	}
}

// check refuses an event that is none.
func check(e *event.Event) error {
	if e.Context == nil || e.SpecVersion() != event.CloudEventsVersionV1 {
		return refused("", "the event is not of the version 1.0")
	}
	if err := e.Validate(); err != nil {
		return refused("", "the event is not valid: %s", strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; "))
	}
	texts := map[string]string{"id": e.ID(), "source": e.Source(), "type": e.Type(), "subject": e.Subject(), "datacontenttype": e.DataContentType(), "dataschema": e.DataSchema()}
	for name, v := range e.Extensions() {
		if !event.IsExtensionNameValid(name) || name != strings.ToLower(name) {
			return refused("names are lower case letters and digits", "the event has an attribute %q", name)
		}
		if s, ok := v.(string); ok {
			texts[name] = s
		}
	}
	for name, text := range texts {
		if err := textProblem(text); err != nil {
			return refused("", "the event's %s %v", name, err)
		}
	}
	return nil
}

// isJSON reports whether data of a media type is a JSON value in the structured form, to the SDK;
// none is the default, JSON.
func isJSON(mediaType string) bool {
	t, _, err := mime.ParseMediaType(mediaType)
	return mediaType == "" || err == nil &&
		slices.Contains([]string{jsonType, event.TextJSON, event.ApplicationCloudEventsJSON, event.ApplicationCloudEventsBatchJSON}, t)
}

// isOtherJSON reports whether it is JSON that the SDK writes as a text, and others as a value.
func isOtherJSON(mediaType string) bool {
	t, _, err := mime.ParseMediaType(mediaType)
	return err == nil && strings.HasSuffix(t, "+json")
}

// shown is a foreign text in a message.
func shown(s string) string {
	const most = 80
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return fmt.Sprintf("%q", s)
}

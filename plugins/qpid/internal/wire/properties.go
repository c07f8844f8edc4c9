// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"time"
	"unicode/utf8"

	amqp "github.com/Azure/go-amqp"

	"github.com/parleymq/parley/plugin/driver"
)

// The application-properties that are not headers.
const (
	propertyUniqueID = "parley_unique_id"
	propertyDeadline = "parley_deadline"
)

func isReserved(name string) bool { return name == propertyUniqueID || name == propertyDeadline }

func (f *frame) setApplicationProperties(m *driver.Message) error {
	if err := driver.CheckHeaders(m.Headers); err != nil {
		return err
	}
	unique := m.Kind == driver.Call && m.UniqueID != "" && m.UniqueID != m.CallID
	deadline := m.DeadlineMillis()
	if len(m.Headers) == 0 && !unique && deadline == 0 {
		return nil
	}
	table := make(map[string]any, len(m.Headers)+2)
	for k, v := range m.Headers {
		if isReserved(k) {
			return driver.Errorf(driver.ReasonConfig, "the header %q has a meaning to the qpid driver and cannot be sent", k)
		}
		table[k] = v
	}
	if unique {
		table[propertyUniqueID] = m.UniqueID
	}
	if deadline != 0 {
		table[propertyDeadline] = deadline
	}
	f.ApplicationProperties = table
	return nil
}

// headers returns the application-properties that are text and not ours, which are those that a
// Message can have. A message with more of them than one may have is taken without: whoever sent
// so much meant something else.
func headers(table map[string]any) map[string]string {
	var out map[string]string
	size := 0
	for k, v := range table {
		s, ok := v.(string)
		if !ok || isReserved(k) || !utf8.ValidString(k) || !utf8.ValidString(s) {
			continue
		}
		if size += len(k) + len(s); size > driver.MaxHeaderBytes || len(out) == driver.MaxHeaders {
			return nil
		}
		if out == nil {
			out = make(map[string]string, min(len(table), driver.MaxHeaders))
		}
		out[k] = s
	}
	return out
}

// uniqueID is the sender's, or else the message's own id: unique is all it has to be.
func uniqueID(m *amqp.Message) (string, error) {
	if s, ok := m.ApplicationProperties[propertyUniqueID].(string); ok && s != "" {
		return s, checkID("parley_unique_id", s)
	}
	if m.Properties == nil {
		return "", nil
	}
	return plainID("message-id", m.Properties.MessageID)
}

// deadline is when nobody wants the message any more, by its sender's clock. An absolute expiry
// time says the same. Upstream sends one, of a clock that begins when its machine starts; what is
// before 2000 is such a time.
func deadline(m *amqp.Message) time.Time {
	if ms, ok := m.ApplicationProperties[propertyDeadline].(int64); ok {
		return driver.DeadlineTime(ms)
	}
	if m.Properties == nil || m.Properties.AbsoluteExpiryTime == nil {
		return time.Time{}
	}
	if at := *m.Properties.AbsoluteExpiryTime; at.Year() >= 2000 {
		return driver.DeadlineTime(at.UnixMilli())
	}
	return time.Time{}
}

// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"math"
	"time"
	"unicode/utf8"

	amqp "github.com/Azure/go-amqp"

	"github.com/parleymq/parley/plugin/driver"
)

// MaxBody is the longest body in bytes that is sent or taken. Brokers allow less: Broker-J 100 MiB.
const MaxBody = 128 << 20

// defaultPriority is what a header without a priority means, and what go-amqp leaves out.
const defaultPriority = 4

// frame is an AMQP message with its sections, in one piece of memory.
type frame struct {
	amqp.Message

	header      amqp.MessageHeader
	props       amqp.MessageProperties
	to, replyTo string
}

// Encode makes the AMQP message for m. to is its address, replyTo that of the sender's reply link
// for a Call. The result shares no memory with m, and may be sent more than once. An error is a
// *driver.Error: the message cannot be sent as it is.
func Encode(m *driver.Message, to, replyTo string) (*amqp.Message, error) {
	f := new(frame)
	if err := f.setBody(m); err != nil {
		return nil, err
	}
	if err := f.setApplicationProperties(m); err != nil {
		return nil, err
	}
	f.setHeader(m)
	f.to, f.props.To = to, &f.to
	switch m.Kind {
	case driver.Call:
		f.replyTo, f.props.ReplyTo = replyTo, &f.replyTo
		f.props.MessageID = m.CallID
	case driver.Reply, driver.Heartbeat:
		f.props.CorrelationID = messageID(m.CallID)
	default:
	}
	if f.props.MessageID == nil && m.UniqueID != "" {
		f.props.MessageID = m.UniqueID
	}
	if err := checkNames(m, to, replyTo); err != nil {
		return nil, err
	}
	f.Properties = &f.props
	return &f.Message, nil
}

// setBody puts the text together. A heartbeat has no body section, which is what tells it from a
// reply.
func (f *frame) setBody(m *driver.Message) error {
	if m.Kind == driver.Heartbeat {
		return nil
	}
	text, err := bodyText(m)
	if err != nil {
		return err
	}
	if len(text) > MaxBody {
		return driver.Errorf(driver.ReasonMessageTooLarge, "the body of a %s has %d bytes and the limit is %d", m.Kind, len(text), MaxBody)
	}
	if !utf8.ValidString(text) {
		return driver.Errorf(driver.ReasonInternal, "the body of a %s is not valid UTF-8", m.Kind)
	}
	f.Value = text
	return nil
}

// setHeader sets the time to live. A message without one has no header section, whose absence
// means what upstream's empty one does.
func (f *frame) setHeader(m *driver.Message) {
	left := m.TimeLeft
	if m.Kind == driver.Heartbeat && m.MonitorTimeout > 0 {
		left = m.MonitorTimeout
	}
	if left == 0 {
		return
	}
	f.header = amqp.MessageHeader{Priority: defaultPriority, TTL: timeToLive(left)}
	f.Header = &f.header
}

// timeToLive is left in whole milliseconds, at least one and at most what 32 bits hold, which is 49
// days.
func timeToLive(left time.Duration) time.Duration {
	const most = math.MaxUint32 * time.Millisecond
	switch {
	case left <= time.Millisecond:
		return time.Millisecond
	case left >= most:
		return most
	default:
		return (left + time.Millisecond - 1).Truncate(time.Millisecond)
	}
}

// checkNames refuses what go-amqp would only refuse as it writes: text that is not UTF-8.
func checkNames(m *driver.Message, to, replyTo string) error {
	for _, name := range [...]struct{ what, text string }{
		{"address", to}, {"reply address", replyTo}, {"call id", m.CallID}, {"unique id", m.UniqueID},
	} {
		if !utf8.ValidString(name.text) {
			return driver.Errorf(driver.ReasonUnsupported, "the %s of a %s is not valid UTF-8", name.what, m.Kind)
		}
	}
	return nil
}

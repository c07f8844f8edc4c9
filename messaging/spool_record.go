// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"encoding/binary"
	"errors"
	"maps"
	"slices"

	"github.com/parleymq/parley/plugin/driver"
)

// spooledVersion is the first byte of a stored notification. What follows are texts, each behind its
// length: unique id, exchange, topic, priority, format (one byte), context, body, and the headers,
// name and value in turn.
const spooledVersion = 1

var errSpooled = errors.New("it is not a notification of this version")

// encodeSpooled is a notification as it is stored.
func encodeSpooled(m *driver.Message) []byte {
	size := m.Size() + 16 + 8*len(m.Headers)
	dst := append(make([]byte, 0, size), spooledVersion)
	for _, text := range [...]string{m.UniqueID, m.Target.Exchange, m.Target.Topic, m.Priority, string([]byte{byte(m.Format)})} {
		dst = append(binary.AppendUvarint(dst, uint64(len(text))), text...)
	}
	for _, text := range [...][]byte{m.Context, m.Body} {
		dst = append(binary.AppendUvarint(dst, uint64(len(text))), text...)
	}
	for _, name := range slices.Sorted(maps.Keys(m.Headers)) {
		for _, text := range [...]string{name, m.Headers[name]} {
			dst = append(binary.AppendUvarint(dst, uint64(len(text))), text...)
		}
	}
	return dst
}

// decodeSpooled reads what encodeSpooled wrote. The message shares data.
func decodeSpooled(data []byte) (*driver.Message, error) {
	if len(data) == 0 || data[0] != spooledVersion {
		return nil, errSpooled
	}
	var texts [][]byte
	for data = data[1:]; len(data) > 0; {
		size, used := binary.Uvarint(data)
		if used <= 0 || size > uint64(len(data)-used) || len(texts) > 7+2*driver.MaxHeaders {
			return nil, errSpooled
		}
		data = data[used:]
		texts = append(texts, data[:size:size])
		data = data[size:]
	}
	if len(texts) < 7 || len(texts)%2 == 0 || len(texts[4]) != 1 {
		return nil, errSpooled
	}
	m := &driver.Message{
		Kind: driver.Notification, UniqueID: string(texts[0]),
		Target:   driver.Target{Exchange: string(texts[1]), Topic: string(texts[2])},
		Priority: string(texts[3]), Format: driver.NotificationFormat(texts[4][0]),
		Context: texts[5], Body: texts[6], FailFast: true,
	}
	for i := 7; i < len(texts); i += 2 {
		if m.Headers == nil {
			m.Headers = make(map[string]string)
		}
		m.Headers[string(texts[i])] = string(texts[i+1])
	}
	return m, driver.CheckHeaders(m.Headers)
}

// SPDX-License-Identifier: Apache-2.0

package legacy

import (
	"unicode/utf8"

	"github.com/parleymq/parley/internal/pyjson"
)

// pairRoom is how many bytes a payload has around its two values.
const pairRoom = 4

// pair cuts the payload [first, second] in two.
func pair(payload []byte) (first, second []byte, err error) {
	switch {
	case isMsgpack(payload):
		return nil, nil, &Error{Problem: "the payload is msgpack; the peer must have rpc_zmq_serialization = json"}
	case !utf8.Valid(payload):
		return nil, nil, &Error{Problem: "the payload is not valid UTF-8"}
	}
	var room [2][]byte
	values, err := pyjson.Elements(room[:0], payload, len(room))
	if err != nil {
		return nil, nil, &Error{Problem: "the payload is no list of two values", Err: err}
	}
	if len(values) != len(room) {
		return nil, nil, &Error{Problem: "the payload is no list of two values"}
	}
	return values[0], values[1], nil
}

// isMsgpack tells the first byte of a list in msgpack, which no JSON begins with.
func isMsgpack(payload []byte) bool {
	return len(payload) > 0 && (payload[0]>>4 == 0x9 || payload[0] == 0xdc || payload[0] == 0xdd)
}

func appendPair(buf, first, second []byte) []byte {
	buf = append(append(buf, '['), first...)
	return append(append(append(buf, ", "...), second...), ']')
}

// orElse stands in for a value that is empty.
func orElse(value []byte, text string) []byte {
	if len(value) == 0 {
		return []byte(text)
	}
	return value
}

func isObject(value []byte) bool { return len(value) > 0 && value[0] == '{' }

// SPDX-License-Identifier: Apache-2.0

package legacy

import "github.com/parleymq/parley/internal/pyjson"

// AppendReply appends the frames of the reply to the call with that message id to dst, without an
// identity. The body is any JSON, null when empty; the failure is an object, or empty for none.
func AppendReply(dst [][]byte, id string, body, failure []byte) [][]byte {
	body = orElse(body, "null")
	// Every quote in a failure is escaped.
	return appendFrames(dst, Reply, id, pairRoom+len(body)+len("null")+len(failure)+len(failure)/4, func(buf []byte) []byte {
		if len(failure) == 0 {
			return appendPair(buf, body, []byte("null"))
		}
		buf = append(append(append(buf, '['), body...), ", "...)
		return append(pyjson.AppendString(buf, failure), ']')
	})
}

// DecodeReply makes a reply of frames without an identity. The body is the frames' memory, null
// with a failure; the failure is an object, nil for success. An error is an *Error; the id is
// returned with it when it is known.
func DecodeReply(frames [][]byte) (id string, body, failure []byte, err error) {
	t, id, err := parse(frames)
	if err != nil {
		return id, nil, nil, err
	}
	if t != Reply {
		return id, nil, nil, &Error{Problem: "a message that is no reply where a reply is expected"}
	}
	body, raw, err := pair(frames[framePayload])
	if err != nil {
		return id, nil, nil, err
	}
	if failure = parseFailure(raw); failure != nil {
		body = []byte("null")
	}
	return id, body, failure, nil
}

// parseFailure returns the failure's object, nil for success: what Python takes as false, since
// 8.x asks nothing more of it (_drivers/zmq_driver/client/publishers/dealer/zmq_dealer_publisher_base.py).
// A failure that is not the text of an object is a failure all the same, with its text as message.
func parseFailure(value []byte) []byte {
	switch string(value) {
	case "null", `""`, "false", "0", "{}", "[]":
		return nil
	}
	text := value
	if pyjson.IsString(value) {
		text = pyjson.UnquoteScanned(nil, value)
	}
	if _, err := pyjson.Fields(nil, text); err == nil {
		return pyjson.Trim(text)
	}
	object := []byte(`{"class": "", "module": "", "message": `)
	object = pyjson.AppendString(object, text)
	return append(object, `, "tb": [], "args": [], "kwargs": {}}`...)
}

// SPDX-License-Identifier: Apache-2.0

package legacy

import (
	"strconv"

	"github.com/parleymq/parley/plugin/driver"
)

// Version is the second frame of every message.
const Version = "1.0"

// Type is the third frame: what a message is.
type Type uint8

// The types. Ack exists behind a router proxy only, and is here to be told from the others.
const (
	Call Type = iota + 1
	Cast
	Fanout
	Notify
	Reply
	Ack
)

// The frames by their index.
const (
	frameEmpty = iota
	frameVersion
	frameType
	frameID
	framePayload
	frameCount
)

// maxID bounds a message id, which is a UUID's text of 36 bytes.
const maxID = 255

// TypeOf is the type of a request, zero for a message that is none.
func TypeOf(m *driver.Message) Type {
	switch {
	case m.Kind == driver.Call:
		return Call
	case m.Kind == driver.Cast && m.Target.Fanout:
		return Fanout
	case m.Kind == driver.Cast:
		return Cast
	case m.Kind == driver.Notification:
		return Notify
	default:
		return 0
	}
}

// Is reports whether frames are a message of version 1.0, by their empty frame and the version.
// There is no identity in front of them.
func Is(frames [][]byte) bool {
	return len(frames) > frameVersion && len(frames[frameEmpty]) == 0 && string(frames[frameVersion]) == Version
}

// parse checks all frames but the payload. The type and id are returned with an error, too, as far
// as they are known.
func parse(frames [][]byte) (t Type, id string, err error) {
	switch {
	case !Is(frames):
		return 0, "", &Error{Problem: "the frames do not begin with an empty one and the version " + Version}
	case len(frames) == frameCount-1 && string(frames[frameType]) == "6":
		return Ack, "", &Error{Problem: "an acknowledgement, which there is with rpc_use_acks and a router proxy only"}
	case len(frames) == frameCount+1:
		return 0, "", &Error{Problem: "6 frames, as for a router proxy, want 5; the peer must have use_router_proxy = false"}
	case len(frames) != frameCount:
		return 0, "", &Error{Problem: strconv.Itoa(len(frames)) + " frames, want " + strconv.Itoa(frameCount)}
	}
	digit := frames[frameType]
	if len(digit) != 1 || digit[0] < '0'+byte(Call) || digit[0] > '0'+byte(Ack) {
		return 0, "", &Error{Problem: "the message type is not one of 1 to 6"}
	}
	t = Type(digit[0] - '0')
	if !isID(frames[frameID]) {
		return t, "", &Error{Problem: "the message id is not 1 to " + strconv.Itoa(maxID) + " printable characters"}
	}
	return t, string(frames[frameID]), nil
}

// isID also keeps control characters out of logs.
func isID(id []byte) bool {
	for _, c := range id {
		if c < '!' || c > '~' {
			return false
		}
	}
	return len(id) >= 1 && len(id) <= maxID
}

// appendFrames appends the frames of a message with the payload [first, second], which write
// appends. All of them share one buffer of that room.
func appendFrames(dst [][]byte, t Type, id string, room int, payload func(buf []byte) []byte) [][]byte {
	buf := make([]byte, 0, len(Version)+1+len(id)+room)
	buf = append(buf, Version...)
	buf = append(buf, '0'+byte(t))
	buf = append(buf, id...)
	buf = payload(buf)
	version, typ := len(Version), len(Version)+1
	end := typ + len(id)
	return append(dst, []byte{}, buf[:version:version], buf[version:typ:typ], buf[typ:end:end], buf[end:len(buf):len(buf)])
}

// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"strconv"

	"github.com/parleymq/parley/plugin/driver"
)

// The frames of a packet by their index.
const (
	frameEmpty = iota
	frameVersion
	frameHeader
	frameContext
	frameBody
	frameCount
)

// Is reports whether the second of frames says that they are a packet of this version.
func Is(frames [][]byte) bool {
	return len(frames) > frameVersion && string(frames[frameVersion]) == Version
}

// Append appends p's frames to dst: "", "2.0", header, context, body. The context frame holds the
// Failure of a Reply. It does not keep p, and shares Context, Body, Failure and Payload with it.
// Whether a peer takes the packet, Check tells.
func (p *Packet) Append(dst [][]byte) [][]byte {
	// The version and the header share one buffer: that is the one allocation.
	buf := append(make([]byte, 0, len(Version)+p.headerRoom()), Version...)
	buf = p.appendHeader(buf)
	n := len(Version)
	context, body := p.parts()
	return append(dst, []byte{}, buf[:n:n], buf[n:len(buf):len(buf)], context, body)
}

// parts returns the frames behind the header.
func (p *Packet) parts() (context, body []byte) {
	switch {
	case p.Type == Reply:
		return p.Message.Failure, p.Message.Body
	case p.Type.message():
		return p.Message.Context, p.Message.Body
	case p.Type == Gossip:
		return nil, p.Payload
	case p.Record != nil && (p.Type == Hello || p.Type == Welcome):
		return nil, recordText(p.Record)
	default:
		return nil, nil
	}
}

// Decode makes a packet of frames. It never panics; an error is an *Error and says what is wrong.
// The Context, Body, Failure and Payload of the packet are the frames' memory, the rest is not.
func Decode(frames [][]byte) (*Packet, error) {
	if err := checkFrames(frames); err != nil {
		return nil, err
	}
	p := new(Packet)
	r := reader{data: frames[frameHeader]}
	r.fields(0, func(key uint64) bool { return p.field(&r, key) })
	switch {
	case r.problem == "" && p.Type == 0:
		r.fail("no type")
	case r.problem == "" && r.left() > 0:
		r.fail("bytes after the map")
	case r.problem == "" && p.Type.message() && p.Seq == 0:
		r.fail("a message without a seq")
	}
	if r.problem != "" {
		return nil, &Error{Problem: r.problem, Type: p.Type, Seq: p.Seq, Unknown: p.Type > Goodbye}
	}
	if err := p.setParts(frames[frameContext], frames[frameBody]); err != nil {
		return nil, err
	}
	return p, nil
}

func checkFrames(frames [][]byte) error {
	switch {
	case len(frames) != frameCount:
		return &Error{Problem: "a packet of " + strconv.Itoa(len(frames)) + " frames, want " + strconv.Itoa(frameCount)}
	case len(frames[frameEmpty]) != 0:
		return &Error{Problem: "the first frame is not empty"}
	case !Is(frames):
		return &Error{Problem: "the second frame is not the version " + Version}
	case len(frames[frameHeader]) > MaxHeader:
		return &Error{Problem: "a header of " + strconv.Itoa(len(frames[frameHeader])) + " bytes, the limit is " + strconv.Itoa(MaxHeader)}
	default:
		return nil
	}
}

// setParts takes what is behind the header. What the type has no use for is a later version's.
func (p *Packet) setParts(context, body []byte) error {
	context, body = some(context), some(body)
	switch {
	case p.Type == Reply:
		p.Message.Failure, p.Message.Body = context, body
	case p.Type.message():
		p.Message.Context, p.Message.Body = context, body
	case p.Type == Gossip:
		p.Payload = body
	case p.Type == Hello && body == nil:
		return &Error{Problem: "a hello without a record", Type: p.Type}
	case body != nil && (p.Type == Hello || p.Type == Welcome):
		record, err := parseRecord(body)
		if err != nil {
			return &Error{Problem: "the record of a hello or welcome", Type: p.Type, Err: err}
		}
		p.Record = record
	}
	return nil
}

// some returns nil for an empty frame.
func some(frame []byte) []byte {
	if len(frame) == 0 {
		return nil
	}
	return frame
}

// message reports whether packets of the type carry a Message.
func (t Type) message() bool { return t >= Call && t <= Heartbeat }

// kind is the Kind of the type's messages.
func (t Type) kind() driver.Kind {
	switch t {
	case Call:
		return driver.Call
	case Cast:
		return driver.Cast
	case Notify:
		return driver.Notification
	case Reply:
		return driver.Reply
	case Heartbeat:
		return driver.Heartbeat
	default:
		return 0
	}
}

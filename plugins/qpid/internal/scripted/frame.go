// SPDX-License-Identifier: Apache-2.0

package scripted

import (
	"errors"
	"fmt"
	"io"
)

// The descriptors in use.
const (
	codeOpen        = 0x10
	codeBegin       = 0x11
	codeAttach      = 0x12
	codeFlow        = 0x13
	codeTransfer    = 0x14
	codeDisposition = 0x15
	codeDetach      = 0x16
	codeEnd         = 0x17
	codeClose       = 0x18
	codeError       = 0x1d
	codeReceived    = 0x23
	codeAccepted    = 0x24
	codeRejected    = 0x25
	codeReleased    = 0x26
	codeModified    = 0x27
	codeSource      = 0x28
	codeTarget      = 0x29
	codeMechanisms  = 0x40
	codeInit        = 0x41
	codeOutcome     = 0x44
	codeHeader      = 0x70
	codeProperties  = 0x73
)

// frame is one that was read. An empty frame has no code.
type frame struct {
	kind    byte
	channel uint16
	size    uint32
	code    uint64
	fields  List
	payload []byte
}

// readFrame reads one frame of at most limit bytes.
func readFrame(r io.Reader, limit uint32) (frame, error) {
	var head [frameHeaderSize]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return frame{}, err
	}
	h, err := parseFrameHeader(head, limit)
	if err != nil {
		return frame{}, err
	}
	body := make([]byte, h.size-frameHeaderSize)
	if _, err := io.ReadFull(r, body); err != nil {
		return frame{}, err
	}
	f := frame{kind: h.kind, channel: h.channel, size: h.size}
	body = body[uint32(h.offset)*4-frameHeaderSize:]
	if len(body) == 0 {
		return f, nil
	}
	f.code, f.fields, f.payload, err = parsePerformative(body)
	return f, err
}

func parsePerformative(body []byte) (uint64, List, []byte, error) {
	v, payload, err := decode(body)
	if err != nil {
		return 0, nil, nil, fmt.Errorf("a frame that is no performative: %w", err)
	}
	code, fields := List{v}.described(0)
	if fields == nil {
		return 0, nil, nil, errors.New("a frame that is no performative")
	}
	return code, fields, payload, nil
}

// Error is the protocol's own error, in a rejected outcome, a detach, an end or a close.
type Error struct {
	Condition   string // such as "amqp:not-found"
	Description string
}

// Conditions that tests use.
const (
	NotFound         = "amqp:not-found"
	NotImplemented   = "amqp:not-implemented"
	NotAllowed       = "amqp:not-allowed"
	Unauthorized     = "amqp:unauthorized-access"
	InternalError    = "amqp:internal-error"
	ResourceDeleted  = "amqp:resource-deleted"
	ResourceLimit    = "amqp:resource-limit-exceeded"
	Precondition     = "amqp:precondition-failed"
	ConnectionForced = "amqp:connection:forced"
	DetachForced     = "amqp:link:detach-forced"
)

// value is the error as a field; null for none.
func (e *Error) value() any {
	if e == nil {
		return nil
	}
	return Described{uint64(codeError), List{Symbol(e.Condition), e.Description}}
}

// errorAt is the error in field i, nil when there is none.
func errorAt(fields List, i int) *Error {
	code, list := fields.described(i)
	if code != codeError {
		return nil
	}
	return &Error{Condition: list.text(0), Description: list.text(1)}
}

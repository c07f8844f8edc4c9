// SPDX-License-Identifier: Apache-2.0

package amqpopen

import (
	"encoding/hex"
	"strconv"
	"strings"
)

// The descriptors of the frames, and of what is in them.
const (
	codeOpen       = 0x10
	codeBegin      = 0x11
	codeAttach     = 0x12
	codeFlow       = 0x13
	codeTransfer   = 0x14
	codeDispose    = 0x15
	codeDetach     = 0x16
	codeEnd        = 0x17
	codeClose      = 0x18
	codeError      = 0x1d
	codeReceived   = 0x23
	codeAccepted   = 0x24
	codeRejected   = 0x25
	codeReleased   = 0x26
	codeModified   = 0x27
	codeSource     = 0x28
	codeTarget     = 0x29
	codeMechanisms = 0x40
	codeInit       = 0x41
	codeChallenge  = 0x42
	codeResponse   = 0x43
	codeOutcome    = 0x44
)

// Frame is one frame as it came or went, for a trace.
type Frame struct {
	Out     bool // from this side
	Channel uint16
	Name    string // of its performative; "empty" for one that only keeps the connection alive
	Size    uint32 // all of it, in bytes
	Fields  string // of the performative, without passwords and without the content of messages
}

// performative is the head of a frame.
type performative struct {
	code   uint64
	fields []any
}

func (p *performative) field(i int) any {
	if i < len(p.fields) {
		return p.fields[i]
	}
	return nil
}

// parse reads the performative at the beginning of a frame's body.
func parse(body []byte) (*performative, bool) {
	d := decoder{body}
	v, err := d.value(0)
	if err != nil {
		return nil, false
	}
	whole, ok := v.(described)
	if !ok {
		return nil, false
	}
	fields, ok := whole.value.([]any)
	if !ok {
		return nil, false
	}
	return &performative{whole.code, fields}, true
}

// peekCode is the code of the performative that body begins with, zero when it cannot be told.
func peekCode(body []byte) uint64 {
	if len(body) < 2 || body[0] != 0 {
		return 0
	}
	d := decoder{body[1:]}
	v, err := d.value(maxDepth)
	if err != nil {
		return 0
	}
	code, _ := v.(uint64)
	return code
}

// name is what the specification calls a frame.
func (p *performative) name() string {
	switch p.code {
	case codeOpen:
		return "open"
	case codeBegin:
		return "begin"
	case codeAttach:
		return "attach"
	case codeFlow:
		return "flow"
	case codeTransfer:
		return "transfer"
	case codeDispose:
		return "disposition"
	case codeDetach:
		return "detach"
	case codeEnd:
		return "end"
	case codeClose:
		return "close"
	default:
		return p.saslName()
	}
}

func (p *performative) saslName() string {
	switch p.code {
	case codeMechanisms:
		return "sasl-mechanisms"
	case codeInit:
		return "sasl-init"
	case codeChallenge:
		return "sasl-challenge"
	case codeResponse:
		return "sasl-response"
	case codeOutcome:
		return "sasl-outcome"
	default:
		return "unknown"
	}
}

// fieldNames are those of the fields, in their order.
func (p *performative) fieldNames() string {
	switch p.code {
	case codeOpen:
		return "container-id hostname max-frame-size channel-max idle-time-out outgoing-locales incoming-locales offered-capabilities desired-capabilities properties"
	case codeBegin:
		return "remote-channel next-outgoing-id incoming-window outgoing-window handle-max offered-capabilities desired-capabilities properties"
	case codeAttach:
		return "name handle role snd-settle-mode rcv-settle-mode source target unsettled incomplete-unsettled initial-delivery-count max-message-size offered-capabilities desired-capabilities properties"
	case codeFlow:
		return "next-incoming-id incoming-window next-outgoing-id outgoing-window handle delivery-count link-credit available drain echo properties"
	case codeTransfer:
		return "handle delivery-id delivery-tag message-format settled more rcv-settle-mode state resume aborted batchable"
	case codeDispose:
		return "role first last settled state batchable"
	case codeDetach:
		return "handle closed error"
	case codeEnd, codeClose:
		return "error"
	case codeMechanisms:
		return "mechanisms"
	case codeInit: // and no response, which has the password
		return "mechanism"
	case codeOutcome:
		return "code"
	default:
		return ""
	}
}

// String is the fields that are set, for people.
func (p *performative) String() string {
	var b strings.Builder
	for i, name := range strings.Fields(p.fieldNames()) {
		v := p.field(i)
		if v == nil {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(name)
		b.WriteByte('=')
		b.WriteString(render(v))
		if b.Len() > maxTrace {
			b.WriteString(" ...")
			break
		}
	}
	return b.String()
}

// render is a value for people, on one line.
func render(v any) string {
	switch v := v.(type) {
	case string:
		return strconv.Quote(text(v))
	case bytesValue:
		return "0x" + hex.EncodeToString(v[:min(len(v), 32)])
	case []any:
		return "[" + renderAll(v) + "]"
	case pairs:
		return "{" + renderAll(v) + "}"
	case described:
		return describedName(v.code) + render(v.value)
	case other:
		return "..."
	case nil:
		return "null"
	default:
		s, _ := plain(v)
		return s
	}
}

func renderAll(values []any) string {
	out := make([]string, 0, min(len(values), maxTexts))
	for _, v := range values[:min(len(values), maxTexts)] {
		out = append(out, render(v))
	}
	return strings.Join(out, " ")
}

func describedName(code uint64) string {
	switch code {
	case codeError:
		return ""
	case codeReceived:
		return "received"
	case codeAccepted:
		return "accepted"
	case codeRejected:
		return "rejected"
	case codeReleased:
		return "released"
	case codeModified:
		return "modified"
	case codeSource, codeTarget:
		return ""
	default:
		return "0x" + strconv.FormatUint(code, 16)
	}
}

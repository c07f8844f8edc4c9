// SPDX-License-Identifier: Apache-2.0

package amqpopen

import (
	"bytes"
	"math"
	"strconv"
	"time"
)

// The protocols that a header names.
const (
	HeaderAMQP = 0
	HeaderTLS  = 2
	HeaderSASL = 3
	// NoHeader stands for what is no AMQP 1.0 header, or did not come.
	NoHeader = -1
)

// The outcomes of a login (sasl-code).
const (
	OutcomeOK        = 0
	OutcomeRefused   = 1
	OutcomeSystem    = 2
	OutcomePermanent = 3
	OutcomeTemporary = 4
)

// The limits of what is kept of a peer.
const (
	maxTexts = 64  // mechanisms, capabilities, properties
	maxText  = 512 // bytes of each
)

// Peer is what the peer said of itself so far.
type Peer struct {
	Header      []byte   // the last protocol header, 8 bytes, or what came instead of one
	Mechanisms  []string // what it offers to log in with, not nil when it sent the frame
	Outcome     uint8    // of the login
	HasOutcome  bool
	Opened      bool // the next ones are its open frame
	ContainerID string
	Hostname    string
	// MaxFrameSize is 4294967295 and ChannelMax 65535 when the frame has none.
	MaxFrameSize uint32
	ChannelMax   uint16
	IdleTimeout  time.Duration     // zero when the frame has none
	Offered      []string          // capabilities
	Properties   map[string]string // those that are texts, numbers or booleans

	Closed      bool   // it closed the connection
	Condition   string // why, as it said
	Description string
}

// HeaderID is the protocol that the last header names.
func (p *Peer) HeaderID() int {
	if len(p.Header) == headerSize && bytes.HasPrefix(p.Header, []byte(magic)) && bytes.Equal(p.Header[5:], []byte{1, 0, 0}) {
		return int(p.Header[4])
	}
	return NoHeader
}

// OutcomeFailed reports whether the peer refused the login.
func (p *Peer) OutcomeFailed() bool { return p.HasOutcome && p.Outcome != OutcomeOK }

// learn takes over what a frame of the peer says.
func (p *Peer) learn(f *performative) {
	switch f.code {
	case codeMechanisms:
		p.Mechanisms = append([]string{}, texts(f.field(0))...)
	case codeOutcome:
		p.HasOutcome = true
		code, ok := f.field(0).(uint64)
		if !ok || code > math.MaxUint8 {
			code = OutcomeSystem
		}
		p.Outcome = uint8(code)
	case codeOpen:
		p.open(f)
	case codeClose:
		p.Closed = true
		p.Condition, p.Description = errorOf(f.field(0))
	}
}

func (p *Peer) open(f *performative) {
	p.Opened = true
	p.ContainerID, p.Hostname = text(f.field(0)), text(f.field(1))
	p.MaxFrameSize = uint32(number(f.field(2), math.MaxUint32))
	p.ChannelMax = uint16(number(f.field(3), math.MaxUint16))
	p.IdleTimeout = time.Duration(number(f.field(4), 0)) * time.Millisecond
	p.Offered = texts(f.field(7))
	properties, ok := f.field(9).(pairs)
	if !ok {
		return
	}
	p.Properties = make(map[string]string)
	for i := 0; i+1 < len(properties) && len(p.Properties) < maxTexts; i += 2 {
		name := text(properties[i])
		if value, ok := plain(properties[i+1]); ok && name != "" {
			p.Properties[name] = value
		}
	}
}

// errorOf takes an error apart.
func errorOf(v any) (condition, description string) {
	d, ok := v.(described)
	if !ok || d.code != codeError {
		return "", ""
	}
	fields, ok := d.value.([]any)
	if !ok || len(fields) == 0 {
		return "", ""
	}
	if len(fields) > 1 {
		description = text(fields[1])
	}
	return text(fields[0]), description
}

// number is v, or other when it is none or too large to be one.
func number(v any, other uint64) uint64 {
	if n, ok := v.(uint64); ok && n <= math.MaxUint32 {
		return n
	}
	return other
}

// text is a string or symbol, cut to what is kept.
func text(v any) string {
	s, ok := v.(string)
	if !ok {
		return ""
	}
	return s[:min(len(s), maxText)]
}

// texts is one symbol or several.
func texts(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{text(v)}
	case []any:
		var out []string
		for _, e := range v[:min(len(v), maxTexts)] {
			if s := text(e); s != "" {
				out = append(out, s)
			}
		}
		return out
	default:
		return nil
	}
}

// plain is a simple value as text.
func plain(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return text(v), true
	case uint64:
		return strconv.FormatUint(v, 10), true
	case int64:
		return strconv.FormatInt(v, 10), true
	case bool:
		return strconv.FormatBool(v), true
	default:
		return "", false
	}
}

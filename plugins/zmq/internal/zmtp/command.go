// SPDX-License-Identifier: Apache-2.0

package zmtp

import (
	"encoding/binary"
	"errors"
	"strings"
)

const (
	cmdReady = "READY"
	cmdError = "ERROR"
	cmdPing  = "PING"
	cmdPong  = "PONG"
)

// parseCommand splits the body of a command frame.
func parseCommand(b []byte) (name, data []byte, err error) {
	n := int(b[0])
	if n == 0 || n > len(b)-1 {
		return nil, nil, refusal("a command of %d bytes has a name of %d", len(b), n)
	}
	return b[1 : 1+n], b[1+n:], nil
}

// parsePing returns the context of a PING.
func parsePing(data []byte) ([]byte, error) {
	const ttl, context = 2, 16
	if len(data) < ttl || len(data) > ttl+context {
		return nil, refusal("a PING has %d bytes", len(data))
	}
	return data[ttl:], nil
}

// errorCommand is what an ERROR says.
func errorCommand(data []byte) error {
	if len(data) == 0 || int(data[0]) != len(data)-1 {
		return refusal("an ERROR is malformed")
	}
	return refusal("it sent the error %s", quoted(data[1:]))
}

// metadata is what counts of a READY.
type metadata struct {
	socketType string
	identity   string
	hasType    bool
	hasID      bool
}

// parseMetadata reads the properties of a READY. Names are compared in any case, which zmq4 does
// not; of the others only the form is checked.
func parseMetadata(b []byte) (metadata, error) {
	var m metadata
	for len(b) > 0 {
		name, value, rest, err := parseProperty(b)
		if err != nil {
			return m, err
		}
		b = rest
		switch {
		case strings.EqualFold(name, "Socket-Type"):
			if m.hasType {
				return m, refusal("READY has two socket types")
			}
			m.socketType, m.hasType = string(value), true
		case strings.EqualFold(name, "Identity"):
			if m.hasID {
				return m, refusal("READY has two identities")
			}
			m.identity, m.hasID = string(value), true
		}
	}
	return m, m.check()
}

func (m metadata) check() error {
	switch {
	case !m.hasType:
		return refusal("READY has no socket type")
	case len(m.identity) > 255:
		return refusal("its identity has %d bytes, the limit is 255", len(m.identity))
	case m.identity != "" && m.identity[0] == 0:
		return refusal("its identity starts with a zero byte")
	}
	return nil
}

var errProperty = errors.New("READY has a malformed property")

func parseProperty(b []byte) (name string, value, rest []byte, err error) {
	n := int(b[0])
	if n == 0 || len(b) < 1+n+4 {
		return "", nil, nil, refusal("%w", errProperty)
	}
	name, b = string(b[1:1+n]), b[1+n:]
	size := uint64(binary.BigEndian.Uint32(b))
	if b = b[4:]; uint64(len(b)) < size {
		return "", nil, nil, refusal("%w", errProperty)
	}
	return name, b[:size], b[size:], nil
}

// compatible says which socket types we talk to. zmq4 panics on a type that it does not know.
func compatible(role, peer string) error {
	ok := false
	switch peer {
	case "DEALER", "ROUTER":
		ok = true
	case "REQ":
		ok = role == "ROUTER"
	case "REP":
		ok = role == "DEALER"
	}
	if !ok {
		return refusal("%w: %s with our %s", errIncompatible, quoted([]byte(peer)), role)
	}
	return nil
}

// readyFrame is the READY that zmq4 gets to see, with the names as it spells them and nothing else.
func readyFrame(m metadata) []byte {
	body := append([]byte{byte(len(cmdReady))}, cmdReady...)
	body = appendProperty(body, "Socket-Type", m.socketType)
	body = appendProperty(body, "Identity", m.identity)
	frame := []byte{flagCommand | flagLong}
	frame = binary.BigEndian.AppendUint64(frame, uint64(len(body)))
	return append(frame, body...)
}

func appendProperty(b []byte, name, value string) []byte {
	b = append(b, byte(len(name)))
	b = append(b, name...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(value)))
	return append(b, value...)
}

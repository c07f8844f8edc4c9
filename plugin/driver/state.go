// SPDX-License-Identifier: Apache-2.0

package driver

import "fmt"

// Phase is where a Conn stands with its broker.
type Phase uint8

// The phases. The numbers cross the process boundary and never change.
const (
	// Connecting: there is no connection; the driver is making one. Err says why the last
	// try failed.
	Connecting Phase = iota + 1
	// Ready: messages flow.
	Ready
	// Blocked: the broker is connected and does not take messages (RabbitMQ:
	// connection.blocked, AMQP 1.0: no link credit). Err says why.
	Blocked
)

// String returns the phase's name in lower case.
func (p Phase) String() string {
	switch p {
	case Connecting:
		return "connecting"
	case Ready:
		return "ready"
	case Blocked:
		return "blocked"
	default:
		return "unknown"
	}
}

// State is a change a driver reports through Config.Report.
//
//	STATE-1  A driver reports each change of phase, and each new cause of failing to connect.
//	STATE-2  Host is the broker's address as host:port, without credentials.
type State struct {
	Phase Phase
	Host  string
	Err   error // an *Error, or nil
}

// String returns the state as one line for people.
func (s State) String() string {
	text := s.Phase.String()
	if s.Host != "" {
		text += " " + s.Host
	}
	if s.Err != nil {
		text = fmt.Sprintf("%s: %v", text, s.Err)
	}
	return text
}

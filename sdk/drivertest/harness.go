// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"context"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// TB is the part of testing.TB that the suite needs. *testing.T is one.
type TB interface {
	Helper()
	Cleanup(func())
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Harness connects the suite to a driver. Info and Open are needed; every other field makes
// more rules provable.
type Harness struct {
	// Info is the driver's Describe.
	Info func() driver.Info

	// Open returns a new connection, or ends the case by t.Fatalf. Conns of one namespace
	// meet. Each case has a namespace of its own, of at most 32 letters and digits; a broker
	// with virtual hosts may use it as one. It may also be ignored: the names of topics,
	// replies and pools are new in each case. The suite closes the Conn. Each Conn has an Instance
	// of its own.
	Open func(ctx context.Context, t TB, namespace string) driver.Conn

	// Timeout bounds each case; 30 seconds when zero. The ledger, which moves ten thousand
	// messages, gets four times as much.
	Timeout time.Duration

	// MessageLimit is a size in bytes above which the broker refuses a message (SEND-8). Zero
	// when there is none.
	MessageLimit int

	// StopBroker stops the broker, and StartBroker starts it again with all it has stored. Both
	// return when it is so. They serve SEND-4, LISTEN-6 and POLL-7.
	StopBroker  func(ctx context.Context, t TB, namespace string)
	StartBroker func(ctx context.Context, t TB, namespace string)

	// SendMalformed sends to a server's topic, past the driver, what the driver cannot decode
	// (POLL-6).
	SendMalformed func(ctx context.Context, t TB, namespace string, to driver.Target)
}

const defaultTimeout = 30 * time.Second

func (h Harness) timeout() time.Duration {
	if h.Timeout > 0 {
		return h.Timeout
	}
	return defaultTimeout
}

// The names of what a Harness can do, for cases that need it.
const (
	needsBroker    = "StopBroker and StartBroker"
	needsLimit     = "MessageLimit"
	needsMalformed = "SendMalformed"
)

func (h Harness) has(need string) bool {
	switch need {
	case needsBroker:
		return h.StopBroker != nil && h.StartBroker != nil
	case needsLimit:
		return h.MessageLimit > 0
	case needsMalformed:
		return h.SendMalformed != nil
	default:
		return true
	}
}

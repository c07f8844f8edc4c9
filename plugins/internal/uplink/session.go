// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"context"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// Session is one life of a connection, from a successful login until it is lost or closed. What
// belongs to a session is made again in the next. Its zero value, a nil pointer, stands for none.
type Session interface {
	comparable

	// Peer is the broker's host and port, for people.
	Peer() string
	// Watch waits until the connection is over, and returns why; what it returns at the end of ctx
	// is not looked at. In between it calls blocked with why the broker takes no messages at all, and
	// with nil when it takes them again.
	Watch(ctx context.Context, blocked func(*driver.Error)) *driver.Error
	// End tells who works with the session that it is over. Nobody is given it any more.
	End()
	// Close ends the connection by the deadline at the latest, in order if that is possible.
	Close(deadline time.Time)
}

// Hosts says which host is tried next. It is used by one goroutine.
type Hosts interface {
	// Len is how many there are; after as many failures there is a wait.
	Len() int
	// Next returns the host to be tried.
	Next() driver.Host
}

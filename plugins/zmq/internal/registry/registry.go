// SPDX-License-Identifier: Apache-2.0

// Package registry is how nodes find each other. A node publishes a Record of where it is and
// what it listens to, and has a View of everybody else's; looking something up is no I/O.
package registry

import (
	"context"

	"github.com/parleymq/parley/plugin/driver"
)

// Record is what a node says of itself.
type Record struct {
	// Node is the node's id: 32 hexadecimal digits, new each time one is opened.
	Node string `json:"node"`
	// Instance is the application's (driver.Config.Instance): the same when its driver is
	// restarted.
	Instance string `json:"instance,omitempty"`
	// Name is for people: the application and the host it is on.
	Name string `json:"name,omitempty"`
	// Endpoints are where it listens, best first: tcp://host:port or ipc:///path.
	Endpoints []string `json:"endpoints,omitempty"`
	// Targets are what it listens to.
	Targets []Target `json:"targets,omitempty"`
	// Version grows with each change.
	Version uint64 `json:"version"`
	// Legacy: it speaks the 1.0 frames of oslo.messaging 8.x and nothing else.
	Legacy bool `json:"legacy,omitempty"`
}

// Target is one thing a node listens to. It is comparable.
type Target struct {
	Kind     driver.SourceKind `json:"kind"`
	Exchange string            `json:"exchange,omitempty"`
	Topic    string            `json:"topic,omitempty"`
	Server   string            `json:"server,omitempty"`
	Scoped   bool              `json:"scoped,omitempty"`
	// Reply is the name of a SourceReplies.
	Reply string `json:"reply,omitempty"`
	// Priority and Pool are of a SourceNotifications.
	Priority string `json:"priority,omitempty"`
	Pool     string `json:"pool,omitempty"`
	// AtLeastOnce: what the node had and did not settle when it died may be given to another.
	AtLeastOnce bool `json:"at_least_once,omitempty"`
}

// View is what a registry knows. It is immutable.
type View struct {
	// Records are the nodes known, by id. The own one is not among them.
	Records map[string]*Record
	// Addresses are endpoints that are to be dialled though nobody knows yet who is there.
	Addresses []string
}

// Registry is one way of discovery. Its methods may be called from many goroutines at once.
type Registry interface {
	// Publish announces rec, in place of what was announced before, and keeps it announced until
	// Close. It returns once everybody who refreshes from then on sees it. When the registry is
	// away it returns an error and goes on trying by itself.
	Publish(ctx context.Context, rec Record) error
	// Refresh brings the view up to date with what was published before the call. Without a
	// store to look into it does nothing.
	Refresh(ctx context.Context) error
	// View returns the present view, never nil.
	View() *View
	// Changed returns a channel that is closed when the view after this call is another.
	Changed() <-chan struct{}
	// Health returns nil, or why the registry cannot be reached now.
	Health() error
	// Close withdraws the record and ends all that runs; idempotent.
	Close(ctx context.Context) error
}

// Gossiper is a Registry without a store: nodes tell each other over their links. The node calls
// it about once a second for a few peers, and for each gossip packet that arrives.
type Gossiper interface {
	Registry
	// Digest is what to send to a peer unasked.
	Digest() []byte
	// Receive takes what a peer sent and returns what to answer, nil for nothing.
	Receive(peer string, payload []byte) (answer []byte, err error)
	// Alive and Gone tell of links that came up and peers that do not answer any more.
	Alive(rec *Record)
	Gone(node string)
}

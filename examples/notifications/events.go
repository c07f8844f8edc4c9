// SPDX-License-Identifier: Apache-2.0

// Package notifications has a service that tells the world what happens, one that reads that for
// its bills, and one that keeps all of it. They know the events they share, and nothing of each
// other.
package notifications

import "github.com/parleymq/parley/messaging"

// Instance is the payload of the events. The tags are the names on the wire.
type Instance struct {
	ID     string `json:"id"`
	Flavor string `json:"flavor"`
}

// Events are what the compute service notifies of: the type on the wire, its priority, and the
// type of the payload.
type Events struct {
	Created messaging.Event[Instance]
	Deleted messaging.Event[Instance]
}

// NewEvents returns the events.
func NewEvents() Events {
	return Events{
		Created: messaging.Event[Instance]{Type: "compute.instance.create.end", Priority: messaging.PriorityInfo},
		Deleted: messaging.Event[Instance]{Type: "compute.instance.delete.end", Priority: messaging.PriorityInfo},
	}
}

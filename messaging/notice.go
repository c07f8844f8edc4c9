// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/parleymq/parley/internal/pyjson"
	"github.com/parleymq/parley/plugin/driver"
)

// notice is a notification from its admission until it is settled.
type notice struct {
	inProgress
	n   *Notification
	key string // of its order; empty for none
	// attempt is how often it has been given to this listener, this time included.
	attempt int
	err     error // of its handlers, or why it is malformed
	// malformed says that it cannot be understood.
	malformed bool

	// found says that next is known: the handlers that it is for and that were not begun yet. taken
	// says that there were some.
	found, taken bool
	next         []*notificationHandler
	room         [2]*notificationHandler // of next
}

// newNotice reads a delivery.
func newNotice(d *driver.Delivery) *notice {
	n := &notice{inProgress: inProgress{delivery: d}}
	n.n, n.err = parseNotification(d)
	n.malformed = n.err != nil
	return n
}

// find looks for its handlers, once. There are none for one that cannot be understood, or whose
// key cannot be had.
func (n *notice) find(p *notificationPlan) {
	if n.found {
		return
	}
	n.found = true
	if n.err == nil {
		n.next = p.find(n.room[:0], n.n)
		n.taken = len(n.next) > 0
	}
}

// begin reports whether h is the next handler of n, and is its last chance to know: h counts as
// begun then.
func (n *notice) begin(h *notificationHandler) bool {
	if n.err != nil || len(n.next) == 0 || n.next[0] != h {
		return false
	}
	n.next = n.next[1:]
	return true
}

// context is what a handler of n gets, or a record about it is logged with.
func (n *notice) context(work context.Context) *notificationContext {
	return &notificationContext{endingContext: endingContext{Context: work}, rc: n.n.carried, n: n.n}
}

// maxNoticeID is how long an id may be that is kept as it is.
const maxNoticeID = 64

// id names the notification over deliveries. A foreign one without ids is known by what it says.
func (n *notice) id() string {
	id := n.delivery.UniqueID
	if id == "" {
		id = n.n.MessageID
	}
	switch {
	case id == "":
		return "#" + digest(n.delivery.Body)
	case len(id) > maxNoticeID:
		return "#" + digest([]byte(id))
	default:
		return id
	}
}

// digest is a short name for a text.
func digest(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// maxNotificationFields is how many fields a notification from any known peer has.
const maxNotificationFields = 8

// parseNotification takes a delivery apart. Fields that are missing or null are left empty, as
// upstream hands over None; only the priority must be there. With an error it returns what it
// understood.
func parseNotification(d *driver.Delivery) (*Notification, error) {
	n := &Notification{Headers: d.Headers, Format: d.Format, Redelivered: d.Redelivered, Payload: []byte("null")}
	var room [maxNotificationFields]pyjson.Field
	fields, err := pyjson.Fields(room[:0], d.Body)
	if err != nil {
		return n, fmt.Errorf("it is not a JSON object: %w", err)
	}
	var priority string
	var problems []error
	for _, f := range fields {
		if err := n.readField(f, &priority); err != nil {
			problems = append(problems, err)
		}
	}
	rc, err := receivedContext(d.Context)
	if err != nil {
		problems = append(problems, fmt.Errorf("its request context cannot be understood: %w", err))
	}
	if rc != nil {
		n.carried, n.Context = rc, rc.values
	}
	n.Timestamp = parseTimestamp(n.timestamp)
	if err := n.readPriority(priority); err != nil {
		problems = append(problems, err)
	}
	if len(problems) > 0 {
		return n, problems[0]
	}
	return n, nil
}

// readField takes over one field of the event's object. Others are not ours.
func (n *Notification) readField(f pyjson.Field, priority *string) error {
	var into *string
	switch string(f.Key) {
	case "message_id":
		into = &n.MessageID
	case "publisher_id":
		into = &n.PublisherID
	case "event_type":
		into = &n.EventType
	case "priority":
		into = priority
	case "timestamp":
		into = &n.timestamp
	case "payload":
		n.Payload = f.Value
		return nil
	default:
		return nil
	}
	if !pyjson.IsNull(f.Value) && !pyjson.IsString(f.Value) {
		return fmt.Errorf("its %s is not a text", f.Key)
	}
	return textField(into, f)
}

// readPriority reads a priority in any case.
func (n *Notification) readPriority(priority string) error {
	if priority == "" {
		return errors.New("it has no priority")
	}
	p := Priority(strings.ToLower(priority))
	if p == "warning" {
		p = PriorityWarn
	}
	if !slices.Contains(Priorities(), p) {
		return fmt.Errorf("there is no priority %q; there are %s", truncate(priority, 64), priorityList())
	}
	n.Priority = p
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/parleymq/parley/internal/pyjson"
)

// event makes the notification. It fails before any I/O.
func (n *Notifier) event(ctx context.Context, p Priority, eventType string, payload any) (*Notification, error) {
	if n.err != nil {
		return nil, n.err
	}
	if problem, hint := textProblem(eventType); problem != "" {
		e := operation{verb: "notify"}.errorf(CodeConfig, nil, "the event type %q %s", truncate(eventType, 64), problem)
		e.Hint = hint
		return nil, e
	}
	op := operation{verb: "notify", method: eventType}
	if err := p.check(op); err != nil {
		return nil, err
	}
	body, err := n.encode(ctx, payload)
	if err != nil {
		return nil, op.errorf(CodeEncoding, err, "the payload cannot be encoded: %v", err)
	}
	rc, err := n.requestContext(ctx)
	if err != nil {
		return nil, op.errorf(CodeEncoding, err, "the request context cannot be encoded: %v", err)
	}
	return &Notification{
		MessageID: uuid.NewString(), PublisherID: n.s.publisherID, EventType: eventType, Priority: p,
		Payload: body, encoded: body, Timestamp: time.Now().UTC().Truncate(time.Microsecond), Context: rc, settings: &n.s,
	}, nil
}

// check refuses what is none of the constants, which are the only ones that listeners know.
func (p Priority) check(op operation) error {
	if slices.Contains(Priorities(), p) {
		return nil
	}
	e := op.errorf(CodeConfig, nil, "there is no priority %q", truncate(string(p), 64))
	e.Hint = "use the constants, or ParsePriority for a text from elsewhere: " + priorityList()
	return e
}

func (n *Notifier) encode(ctx context.Context, payload any) (body []byte, err error) {
	defer recovered(&err)
	if n.s.serializer == nil {
		return n.t.codec.encode(payload)
	}
	if body, err = n.s.serializer.Marshal(ctx, payload); err != nil {
		return nil, err
	}
	return body, validPayload(body)
}

// validPayload refuses what would break the body of the message; nothing stands for null.
func validPayload(payload []byte) error {
	if len(payload) == 0 {
		return nil
	}
	return pyjson.Valid(payload)
}

// checkPayload refuses a payload that an outlet replaced with what is no JSON.
func (n *Notification) checkPayload() error {
	if len(n.Payload) == len(n.encoded) && (len(n.encoded) == 0 || &n.Payload[0] == &n.encoded[0]) {
		return nil // the notifier made it
	}
	return validPayload(n.Payload)
}

func (n *Notifier) requestContext(ctx context.Context) (rc RequestContext, err error) {
	defer recovered(&err)
	if n.s.serializer == nil {
		rc, _ = RequestContextFrom(ctx)
	} else if rc, err = n.s.serializer.MarshalContext(ctx); err != nil {
		return nil, err
	}
	if len(rc) == 0 {
		return nil, nil
	}
	return n.s.context(rc), nil
}

// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/parleymq/parley/internal/pyjson"
	"github.com/parleymq/parley/plugin/driver"
)

// The headers of a dead letter.
const (
	DeadLetterReason   = "parley-dead-letter-reason"   // why it was given up, in a few words
	DeadLetterError    = "parley-dead-letter-error"    // the text of the last error, cut at 1 KiB
	DeadLetterTopic    = "parley-dead-letter-topic"    // the topics that its listener had
	DeadLetterAttempts = "parley-dead-letter-attempts" // how often that listener was given it
)

// The reasons for giving a notification up.
const (
	reasonError     = "its handler failed"
	reasonTooOften  = "requeued too often"
	reasonNoRequeue = "the driver cannot give it back"
	reasonMalformed = "it cannot be understood"
)

// maxDeadLetterError bounds the header with the error.
const maxDeadLetterError = 1 << 10

// MalformedEventType is the event type of a dead letter that holds what could not be understood.
const MalformedEventType = "parley.notification.malformed"

// bury sends a notice to the dead-letter topic and returns once it is there.
func (v *notifying) bury(n *notice, reason string) error {
	t := v.l.t
	m := &driver.Message{
		Kind: driver.Notification, Target: v.l.deadLetters().address(t.opts.DefaultExchange),
		Priority: string(n.n.Priority), Format: cmp.Or(n.delivery.Format, NotificationV2),
		UniqueID: v.l.deadLetterID(n), Context: n.delivery.Context, Body: n.delivery.Body,
	}
	if n.malformed {
		m.Priority, m.Context, m.Body = string(PriorityError), nil, n.wrapped(t.publisherID())
	}
	if info, known := t.info(); !known || info.Has(driver.CapHeaders) {
		m.Headers = v.l.deadLetterHeaders(n, reason)
	}
	ctx, cancel := context.WithTimeout(v.work, t.opts.ReplyTimeout)
	defer cancel()
	return t.sendOften(ctx, m, retries{limit: -1, repeatable: true})
}

// deadLetters is the target of dead letters.
func (l *NotificationListener) deadLetters() Target {
	return Target{Exchange: l.targets[0].Exchange, Topic: l.opts.Failure.DeadLetterTopic}
}

// deadLetterID is the unique id of the dead letter of a notice: the same when it is sent again
// because nobody knows whether it was taken, or whether its notification was settled.
func (l *NotificationListener) deadLetterID(n *notice) string {
	if n.delivery.UniqueID == "" {
		return newID()
	}
	return digest([]byte(l.opts.Pool + "\x00" + l.opts.Failure.DeadLetterTopic + "\x00" + n.delivery.UniqueID))
}

// deadLetterHeaders are the headers that a notification came with, as far as there is room for
// them, and why it was given up.
func (l *NotificationListener) deadLetterHeaders(n *notice, reason string) map[string]string {
	own := map[string]string{
		DeadLetterReason: reason, DeadLetterError: headerText(n.err), DeadLetterTopic: l.topicNames(), DeadLetterAttempts: strconv.Itoa(n.attempt),
	}
	all := maps.Clone(n.delivery.Headers)
	if all == nil {
		return own
	}
	maps.Copy(all, own)
	if driver.CheckHeaders(all) != nil {
		return own
	}
	return all
}

// wrapped is a notification about one that cannot be understood.
func (n *notice) wrapped(publisherID string) []byte {
	about := &Notification{
		MessageID: uuid.NewString(), PublisherID: publisherID, EventType: MalformedEventType, Priority: PriorityError,
		Payload: n.delivery.Body, Timestamp: time.Now(),
	}
	if pyjson.Valid(about.Payload) != nil {
		about.Payload = pyjson.AppendString(nil, strings.ToValidUTF8(string(n.delivery.Body), "\uFFFD"))
	}
	return about.appendBody(nil)
}

// headerText is the text of an error as a header has it. Texts of errors are the application's code
// and may panic.
func headerText(failure error) (text string) {
	defer func() {
		if v := recover(); v != nil {
			text = fmt.Sprintf("an error of type %T whose text cannot be had", failure)
		}
	}()
	return truncate(strings.ToValidUTF8(failure.Error(), "\uFFFD"), maxDeadLetterError)
}

// topicNames are the topics of the listener.
func (l *NotificationListener) topicNames() string {
	names := make([]string, 0, len(l.targets))
	for _, t := range l.targets {
		names = append(names, t.Topic)
	}
	return truncate(strings.Join(names, " "), maxDeadLetterError)
}

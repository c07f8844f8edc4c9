// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"context"
	"slices"

	"github.com/parleymq/parley/plugin/driver"
)

// splitSender is SendAsync of Send for drivers without it. FailFast messages have a queue of
// their own: a Send that waits for the broker must not hold them up (SEND-10).
type splitSender struct {
	patient  *queuedSender
	failFast *queuedSender
}

func newSplitSender(conn driver.Conn) *splitSender {
	return &splitSender{patient: newQueuedSender(conn), failFast: newQueuedSender(conn)}
}

// SendAsync implements driver.AsyncSender.
func (s *splitSender) SendAsync(ctx context.Context, batch []*driver.Message, done func(int, error)) {
	hurried := func(m *driver.Message) bool { return m.FailFast }
	if !slices.ContainsFunc(batch, hurried) {
		s.patient.SendAsync(ctx, batch, done)
		return
	}
	for i, m := range batch {
		q := s.patient
		if m.FailFast {
			q = s.failFast
		}
		q.SendAsync(ctx, batch[i:i+1], func(_ int, err error) { done(i, err) })
	}
}

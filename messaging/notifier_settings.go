// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"cmp"
	"os"
	"slices"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// notifierSettings are what a NotifierOption changes.
type notifierSettings struct {
	publisherID string
	exchange    string
	topics      []string
	outlets     []Outlet
	timeout     time.Duration
	retry       int // negative is as long as there is time
	context     ContextFilter
	serializer  Serializer // nil for JSON
	spool       *Spool
	onResult    func(*Notification, error)
	neverWait   bool // of NotifyAndForget, for room
	t           *Transport
}

// defaultMaxPending is that of NotifierOptions.
const defaultMaxPending = 4096

// publisherID is that of a notifier without one.
func (t *Transport) publisherID() string {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return t.opts.AppName + "." + host
}

// check tells what is wrong with the settings.
func (s *notifierSettings) check() error {
	op := operation{verb: "notify"}
	for _, topic := range s.topics {
		if err := (Target{Exchange: s.exchange, Topic: topic}).validate(roleNotifier); err != nil {
			return err
		}
	}
	if problem, hint := textProblem(s.publisherID); problem != "" {
		e := op.errorf(CodeConfig, nil, "the publisher id %s", problem)
		e.Hint = hint
		return e
	}
	if s.spool != nil && s.spool.t != s.t {
		return op.errorf(CodeConfig, nil, "the spool is that of another transport; open one on this")
	}
	if s.timeout < 0 {
		return op.errorf(CodeConfig, nil, "the timeout is negative; use zero for the default")
	}
	if slices.ContainsFunc(s.outlets, func(o Outlet) bool { return o == nil }) {
		return op.errorf(CodeConfig, nil, "an outlet is nil")
	}
	return nil
}

// target is where a topic is.
func (s *notifierSettings) target(topic string) driver.Target {
	return Target{Exchange: s.exchange, Topic: topic}.address(s.t.opts.DefaultExchange)
}

// operation is what an error of a notification names; topic is empty when it is of none.
func (s *notifierSettings) operation(n *Notification, topic string) operation {
	op := operation{verb: "notify", method: n.EventType}
	if topic != "" {
		op.target = Target{Exchange: s.exchange, Topic: topic}
	}
	return op
}

// bound is the time a notification has.
func (s *notifierSettings) bound() time.Duration {
	return cmp.Or(s.timeout, s.t.opts.ReplyTimeout)
}

// retries is the retry policy. A notification may be repeated: listeners know its id.
func (s *notifierSettings) retries() retries {
	return retries{limit: s.retry, repeatable: true}
}

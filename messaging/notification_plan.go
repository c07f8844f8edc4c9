// SPDX-License-Identifier: Apache-2.0

package messaging

import "slices"

// notificationPlan is what a listener serves with: the handlers of its endpoints, in order.
type notificationPlan struct {
	handlers   []*notificationHandler
	priorities []Priority // that there is a handler for
	batched    []Priority // that there is a handler of batches for
}

// plan collects what is registered. It fails with the first mistake.
func (l *NotificationListener) plan(op operation) (*notificationPlan, error) {
	p := &notificationPlan{}
	for _, e := range l.endpoints {
		if e == nil {
			return nil, op.errorf(CodeConfig, nil, "an endpoint is nil")
		}
		handlers, err := e.registered()
		if err != nil {
			return nil, err
		}
		p.handlers = append(p.handlers, handlers...)
	}
	for _, priority := range Priorities() {
		of := func(h *notificationHandler) bool { return h.priority == priority }
		if slices.ContainsFunc(p.handlers, of) {
			p.priorities = append(p.priorities, priority)
		}
		if slices.ContainsFunc(p.handlers, func(h *notificationHandler) bool { return h.batch != nil && of(h) }) {
			p.batched = append(p.batched, priority)
		}
	}
	return p, nil
}

// find appends the handlers that n is for.
func (p *notificationPlan) find(dst []*notificationHandler, n *Notification) []*notificationHandler {
	for _, h := range p.handlers {
		if h.takes(n) {
			dst = append(dst, h)
		}
	}
	return dst
}

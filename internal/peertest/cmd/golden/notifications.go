// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"

	"github.com/parleymq/parley/internal/peertest"
)

// What the recorded notifications are.
const (
	notifyTopic = "notifications"
	publisherID = "compute.host1"
	eventType   = "compute.instance.create.end"
	poolName    = "recorder"
)

// notifications are what a notifier and two listeners send, one of them of a pool.
type notifications struct {
	notifier, listener, pool []peertest.Method
	messages                 []message
}

// recordNotifications records each peer through a proxy of its own.
func (s scenario) recordNotifications() (n notifications, err error) {
	if n.listener, err = s.listen(""); err != nil {
		return n, err
	}
	if n.pool, err = s.listen(poolName); err != nil {
		return n, err
	}
	proxy, err := peertest.StartAMQPProxy(s.node.Addr())
	if err != nil {
		return n, err
	}
	defer func() { err = errors.Join(err, proxy.Close()) }()
	notifier, err := peertest.StartPythonNotifier(s.ctx, s.python, peertest.PythonNotifierOptions{URL: s.node.URLAt(proxy.Addr(), "/")})
	if err != nil {
		return n, err
	}
	defer func() { err = errors.Join(err, notifier.Close()) }()
	for i, e := range events() {
		proxy.Reset()
		if err := notifier.Notify(s.ctx, e.event); err != nil {
			return n, fmt.Errorf("%s: %w", e.name, err)
		}
		published := publishes(proxy)
		if len(published) != 1 {
			return n, fmt.Errorf("%s: the notifier published %d messages, want 1", e.name, len(published))
		}
		if i == 0 {
			n.notifier = sent(proxy)
		}
		n.messages = append(n.messages, message{e.name, published[0]})
	}
	return n, nil
}

// listen records the start of a listener of two priorities.
func (s scenario) listen(pool string) (methods []peertest.Method, err error) {
	proxy, err := peertest.StartAMQPProxy(s.node.Addr())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, proxy.Close()) }()
	l, err := peertest.StartPythonListener(s.ctx, s.python, peertest.PythonListenerOptions{
		URL: s.node.URLAt(proxy.Addr(), "/"), Targets: []peertest.PythonListenTo{{Topic: notifyTopic}},
		Levels: []string{"info", "error"}, Pool: pool,
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	// The listener consumes in another thread than the one that started it: a queue for each
	// priority, or that of the pool.
	last := "2"
	if pool != "" {
		last = "1"
	}
	if _, err := proxy.WaitFor(s.ctx, func(m peertest.Method) bool {
		return m.Name == "basic.consume-ok" && m.Args["consumer_tag"] == last
	}); err != nil {
		return nil, err
	}
	return sent(proxy), nil
}

type namedEvent struct {
	name  string
	event peertest.Event
}

// events are the recorded ones: one of each kind in both formats.
func events() []namedEvent {
	ctxt := map[string]any{"auth_token": "token", "request_id": "req-1", "roles": []string{"member"}, "user": "alice"}
	var all []namedEvent
	for _, format := range []struct{ name, driver string }{{"v1", "messaging"}, {"v2", "messagingv2"}} {
		add := func(name string, e peertest.Event) {
			e.Driver, e.Topics, e.PublisherID = format.driver, []string{notifyTopic}, publisherID
			if e.EventType == "" {
				e.EventType = eventType
			}
			all = append(all, namedEvent{"notification_" + format.name + name, e})
		}
		add("", peertest.Event{PayloadJSON: `{"id": 1, "when": "2026-01-02T03:04:05.000678", "u": "00000000-0000-0000-0000-000000000005"}`})
		add("_context", peertest.Event{Ctxt: ctxt, Redacts: true, Payload: map[string]any{"id": 1}})
		add("_dictionary", peertest.Event{Ctxt: ctxt, Payload: map[string]any{"id": 1}})
		add("_null", peertest.Event{Level: "critical"})
		add("_text", peertest.Event{Level: "warn", EventType: "h\u00e9llo \u2603 \U0001F600", Payload: "h\u00e9llo \u2603 \"\\/\U0001F600"})
		add("_odd", peertest.Event{Level: "sample", PayloadJSON: `[1180591620717411303424, 1.0, 1e300, NaN, -Infinity, "\ud800", {}, [], {"b": 1, "a": null}]`})
	}
	return all
}

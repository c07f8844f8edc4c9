// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

// notePeers are the notifiers and listeners that the rows of one release share. Each language
// listens to two topics of its own.
type notePeers struct {
	*meeting
	broker *peertest.RabbitMQ // of a wire with a proxy
	vhost  string
	url    string // Parley's

	pythonNotifier *peertest.PythonNotifier
	pythonListener *peertest.PythonListener

	goTransport *messaging.Transport // a driver process of its own
	goListener  *heard
	goLogs      *testbed.Logs
}

// The topics of the shared listeners.
var (
	pythonTopics = []string{"python.one", "python-two"}
	goTopics     = []string{"go.one", "go-two"}
)

func newNotePeers(t *testing.T, m *meeting) *notePeers {
	t.Helper()
	p := placeNotePeers(t, m)
	p.pythonListener = p.runPythonListener(t, peertest.PythonListenerOptions{}, pythonTopics...)
	p.pythonNotifier = peertest.RunPythonNotifier(t, m.python, peertest.PythonNotifierOptions{URL: m.pythonURL(p.url), Conf: m.conf()})
	p.goTransport, p.goLogs = bed.Open(t, p.url)
	p.goListener = p.listen(t, nil, goTopics...)
	return p
}

// placeNotePeers is where they meet, and nobody yet.
func placeNotePeers(t *testing.T, m *meeting) *notePeers {
	t.Helper()
	place := m.wire.New(t)
	return &notePeers{meeting: m, broker: place.Broker, vhost: place.Vhost, url: place.URL}
}

// runPythonListener runs one more Python listener.
func (p *notePeers) runPythonListener(t *testing.T, o peertest.PythonListenerOptions, topics ...string) *peertest.PythonListener {
	t.Helper()
	o.URL, o.Conf = p.pythonURL(p.url), p.conf()
	for _, topic := range topics {
		o.Targets = append(o.Targets, peertest.PythonListenTo{Topic: topic})
	}
	return peertest.RunPythonListener(t, p.python, o)
}

// listen runs one more Go listener, which keeps all that it hears.
func (p *notePeers) listen(t *testing.T, o *messaging.NotificationListenerOptions, topics ...string) *heard {
	t.Helper()
	h := &heard{}
	p.listenWith(t, o, h.endpoint(), topics...)
	return h
}

func (p *notePeers) listenWith(t *testing.T, o *messaging.NotificationListenerOptions, ep *messaging.NotificationEndpoint, topics ...string) *messaging.NotificationListener {
	t.Helper()
	l := messaging.NewNotificationListener(p.goTransport, targetsOf(topics), o, ep)
	testbed.Serve(t, l)
	return l
}

func targetsOf(topics []string) []messaging.Target {
	var targets []messaging.Target
	for _, topic := range topics {
		targets = append(targets, messaging.Target{Topic: topic})
	}
	return targets
}

// goNotifier notifies the shared Python listener, unless it is told other topics.
func (p *notePeers) goNotifier(o messaging.NotifierOptions) *messaging.Notifier {
	if o.PublisherID == "" {
		o.PublisherID = "go.host"
	}
	if len(o.Topics) == 0 {
		o.Topics = pythonTopics[:1]
	}
	return messaging.NewNotifier(p.goTransport, &o)
}

// notify lets Python notify the shared Go listener, unless it is told other topics.
func (p *notePeers) notify(t *testing.T, e peertest.Event) {
	t.Helper()
	if e.PublisherID == "" {
		e.PublisherID = "python.host"
	}
	if len(e.Topics) == 0 {
		e.Topics = goTopics[:1]
	}
	if err := p.pythonNotifier.Notify(soon(t), e); err != nil {
		t.Fatal(err)
	}
}

// pythonHeard waits for n notifications of a type at the shared Python listener. More than n are a
// failure.
func (p *notePeers) pythonHeard(t *testing.T, eventType string, n int) []peertest.Noted {
	t.Helper()
	return pythonHas(t, p.pythonListener, eventType, n)
}

func pythonHas(t *testing.T, l *peertest.PythonListener, eventType string, n int) []peertest.Noted {
	t.Helper()
	all, err := l.WaitReceived(soon(t), eventType, n)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != n {
		t.Fatalf("Python heard %d of %q, want %d", len(all), eventType, n)
	}
	return all
}

// heard keeps what a Go listener is given.
type heard struct {
	mu  sync.Mutex // guards all
	all []*messaging.Notification
}

func (h *heard) add(n *messaging.Notification) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, n)
}

// endpoint has a handler for every priority.
func (h *heard) endpoint() *messaging.NotificationEndpoint {
	ep := messaging.NewNotificationEndpoint(nil)
	for _, priority := range messaging.Priorities() {
		ep.Handle(priority, h.handle)
	}
	return ep
}

// of returns what was heard of an event type, or all when it is empty.
func (h *heard) of(eventType string) []*messaging.Notification {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(h.all), func(n *messaging.Notification) bool {
		return eventType != "" && n.EventType != eventType
	})
}

// wait waits for n notifications of a type. More than n are a failure.
func (h *heard) wait(t *testing.T, eventType string, n int) []*messaging.Notification {
	t.Helper()
	testbed.Eventually(t, patience, fmt.Sprintf("%d of %q", n, eventType), func() bool { return len(h.of(eventType)) >= n })
	all := h.of(eventType)
	if len(all) != n {
		t.Fatalf("Go heard %d of %q, want %d", len(all), eventType, n)
	}
	return all
}

// format is one of the two with the names that both sides have for it.
type format struct {
	name   string
	driver string // Python's
	format messaging.NotificationFormat
}

func formats() []format {
	return []format{{"v1", "messaging", messaging.NotificationV1}, {"v2", "messagingv2", messaging.NotificationV2}}
}

// eachFormat runs a test with both formats.
func eachFormat(t *testing.T, test func(t *testing.T, f format)) {
	t.Helper()
	for _, f := range formats() {
		t.Run(f.name, func(t *testing.T) { test(t, f) })
	}
}

// outlets are those of a notifier of one format.
func (f format) outlets() []messaging.Outlet {
	return []messaging.Outlet{messaging.BrokerOutlet(f.format)}
}

// handle is a handler that keeps what it is given.
func (h *heard) handle(_ context.Context, n *messaging.Notification) error {
	h.add(n)
	return nil
}

// rawPayload is a payload that is text already.
func rawPayload(text string) json.RawMessage { return json.RawMessage(text) }

// outletWithHeaders is an outlet of the application's own that sends headers along.
func outletWithHeaders(f format) messaging.Outlet {
	return messaging.OutletFunc(func(ctx context.Context, n *messaging.Notification) error {
		with := *n
		with.Headers = headers()
		return messaging.BrokerOutlet(f.format).Notify(ctx, &with)
	})
}

// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"encoding/json"
	"time"

	"github.com/parleymq/parley/messaging"
)

// durableOption is what the driver declares durable objects for.
const durableOption = "?amqp_durable_queues=true"

// parleyURL is the URL with what the setup asks for.
func parleyURL(s Setup) string {
	if s.Durable {
		return s.URL + durableOption
	}
	return s.URL
}

// ParleyNotifier notifies by Parley.
type ParleyNotifier struct {
	transport *messaging.Transport
	notifier  *messaging.Notifier
	payload   payload
	done      func(error) // of the load that is running
}

// NewParleyNotifier opens a transport.
func NewParleyNotifier(ctx context.Context, s Setup) (*ParleyNotifier, error) {
	t, err := messaging.Open(ctx, parleyURL(s), parleyOptions(s))
	if err != nil {
		return nil, err
	}
	n := &ParleyNotifier{transport: t}
	if err := json.Unmarshal(Request(s.Size), &n.payload); err != nil {
		return nil, err
	}
	n.notifier = messaging.NewNotifier(t, &messaging.NotifierOptions{
		PublisherID: publisher, Topics: []string{NotificationTopic}, Timeout: rawTimeout, MaxPending: pipelined,
		OnResult: func(_ *messaging.Notification, err error) { n.done(err) },
	})
	return n, nil
}

// Run notifies as load says.
func (n *ParleyNotifier) Run(ctx context.Context, load Load) Result {
	if load.InFlight > 0 {
		return Run(ctx, load, func(ctx context.Context) error { return n.notifier.Info(ctx, eventType, n.payload) })
	}
	n.done = nil // nothing is under way
	return RunPipelined(ctx, load, func(ctx context.Context, done func(error)) {
		if n.done == nil {
			n.done = done
		}
		n.notifier.NotifyAndForget(ctx, messaging.PriorityInfo, eventType, n.payload)
	})
}

// Close ends the transport and its driver.
func (n *ParleyNotifier) Close(ctx context.Context) error { return n.transport.Close(ctx) }

// ParleyListener listens by Parley.
type ParleyListener struct {
	transport *messaging.Transport
	batches   bool
}

// NewParleyListener opens a transport, and listens to nothing yet.
func NewParleyListener(ctx context.Context, s Setup, batches bool) (*ParleyListener, error) {
	t, err := messaging.Open(ctx, parleyURL(s), parleyOptions(s))
	return &ParleyListener{t, batches}, err
}

// Run handles load.Count notifications.
func (l *ParleyListener) Run(ctx context.Context, load Load) Result {
	h := newHandled(load.Count)
	ep := messaging.NewNotificationEndpoint(nil)
	opts := &messaging.NotificationListenerOptions{}
	if l.batches {
		ep.HandleBatch(messaging.PriorityInfo, func(_ context.Context, batch []*messaging.Notification) error {
			h.add(len(batch))
			return nil
		})
	} else {
		opts.Concurrency = rawPrefetch
		ep.Handle(messaging.PriorityInfo, func(context.Context, *messaging.Notification) error {
			h.add(1)
			return nil
		})
	}
	begin := time.Now()
	listener := messaging.NewNotificationListener(l.transport, []messaging.Target{{Topic: NotificationTopic}}, opts, ep)
	ended := make(chan error, 1)
	go func() { ended <- listener.Serve(context.WithoutCancel(ctx)) }() // ended by Shutdown
	r := h.result(ctx, begin, ended)
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := listener.Shutdown(stop); err != nil && r.Error == "" {
		r.Errors, r.Error = 1, err.Error()
	}
	return r
}

// Close ends the transport and its driver.
func (l *ParleyListener) Close(ctx context.Context) error { return l.transport.Close(ctx) }

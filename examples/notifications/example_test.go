// SPDX-License-Identifier: Apache-2.0

package notifications_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"

	"github.com/parleymq/parley/examples/notifications"
	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/messaging/messagingtest"
)

// serve serves until stop is called.
func serve(ctx context.Context, l *messaging.NotificationListener) (stop func()) {
	served := make(chan error, 1)
	go func() { served <- l.Serve(ctx) }()
	<-l.Ready()
	return func() {
		if err := l.Shutdown(ctx); err != nil {
			log.Fatal(err)
		}
		if err := <-served; !errors.Is(err, messaging.ErrServerClosed) {
			log.Fatal(err)
		}
	}
}

// deadLetters returns the listener of who looks at what went wrong.
func deadLetters(t *messaging.Transport, found chan<- string) *messaging.NotificationListener {
	ep := messaging.NewNotificationEndpoint(nil)
	ep.Handle(messaging.PriorityInfo, func(_ context.Context, n *messaging.Notification) error {
		found <- fmt.Sprintf("%s, %s times: %s", n.Headers[messaging.DeadLetterReason], n.Headers[messaging.DeadLetterAttempts], n.Headers[messaging.DeadLetterError])
		return nil
	})
	return messaging.NewNotificationListener(t, []messaging.Target{{Topic: notifications.DeadLetters}}, nil, ep)
}

func Example() {
	ctx := context.Background()
	// A program says messaging.Open(ctx, "rabbit://user:password@broker/", nil).
	t, err := messagingtest.NewBroker().Open(ctx, &messaging.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		log.Fatal(err)
	}

	// The bills: the database is away at first, and one flavor has no price.
	bills, tries := make(chan string, 4), 0
	billing := &notifications.Billing{Bill: func(_ context.Context, i notifications.Instance) error {
		if i.Flavor == "unheard-of" {
			return errors.New("it has no price")
		}
		if tries++; tries == 1 {
			return errors.New("the database is away")
		}
		bills <- "bill for " + i.ID
		return nil
	}}
	stored := make(chan int, 4)
	archive := &notifications.Archive{Store: func(_ context.Context, batch []*messaging.Notification) error {
		stored <- len(batch)
		return nil
	}}
	dead := make(chan string, 4)
	stops := []func(){
		serve(ctx, billing.Listener(t)), serve(ctx, archive.Listener(t)), serve(ctx, deadLetters(t, dead)),
	}

	compute := notifications.NewCompute(t)
	fmt.Println("created:", compute.Create(ctx, notifications.Instance{ID: "i-1", Flavor: "small"}))
	fmt.Println(<-bills)
	fmt.Println("created:", compute.Create(ctx, notifications.Instance{ID: "i-2", Flavor: "unheard-of"}))
	fmt.Println(<-dead)
	compute.Delete(ctx, notifications.Instance{ID: "i-1"})
	compute.Delete(ctx, notifications.Instance{ID: "i-2"})
	fmt.Println("stored at once:", <-stored)

	// Shutdown waits for the handlers; what was not begun goes back to the broker.
	for _, stop := range stops {
		stop()
	}
	if err := t.Close(ctx); err != nil {
		log.Fatal(err)
	}

	// Output:
	// created: <nil>
	// bill for i-1
	// created: <nil>
	// requeued too often, 4 times: bill i-2 of compute.host1: it has no price
	// stored at once: 4
}

// SPDX-License-Identifier: Apache-2.0

package messagingcloudevents_test

import (
	"context"
	"fmt"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/messaging/messagingcloudevents"
)

// ExampleToEvent passes notifications on as events.
func ExampleToEvent() {
	e, err := messagingcloudevents.ToEvent(&messaging.Notification{
		MessageID: "1", PublisherID: "compute.host1", EventType: "compute.instance.create.end", Priority: messaging.PriorityInfo,
		Payload: []byte(`{"instance_id":"i-1"}`), Context: messaging.RequestContext{"request_id": "req-1", "auth_token": "secret"},
	}, &messagingcloudevents.Options{Source: "https://cloud.example/compute", ContextKeys: []string{"request_id"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	text, _ := e.MarshalJSON()
	fmt.Println(string(text))
	// Output:
	// {"specversion":"1.0","id":"1","source":"https://cloud.example/compute","type":"compute.instance.create.end","datacontenttype":"application/json","data":{"instance_id":"i-1"},"priority":"info","publisherid":"compute.host1","requestid":"req-1"}
}

// ExampleNotify sends an event, and reads it in a listener's handler.
func ExampleNotify() {
	send := func(ctx context.Context, n *messaging.Notifier) error {
		e := event.New()
		e.SetID("1")
		e.SetSource("/compute/host1")
		e.SetType("compute.instance.create.end")
		return messagingcloudevents.Notify(ctx, n, e)
	}
	ep := messaging.NewNotificationEndpoint(nil)
	ep.Handle(messaging.PriorityInfo, func(_ context.Context, n *messaging.Notification) error {
		e, err := messagingcloudevents.Decode(n)
		if err != nil {
			return err
		}
		fmt.Println(e.Source(), e.Subject())
		return nil
	})
	_ = send
}

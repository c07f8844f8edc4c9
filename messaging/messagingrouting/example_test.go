// SPDX-License-Identifier: Apache-2.0

package messagingrouting_test

import (
	"context"
	"fmt"

	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/messaging/messagingrouting"
)

// Example follows a file.
func Example() {
	serve := func(ctx context.Context, t *messaging.Transport) error {
		router, err := messagingrouting.Open("/etc/app/routing_notifier.yaml", &messagingrouting.Options{
			Outlets: map[string]messaging.Outlet{
				"billing": messaging.OutletFunc(func(context.Context, *messaging.Notification) error { return nil }),
			},
		})
		if err != nil {
			return err // it has file and line
		}
		defer func() { _ = router.Close() }() // it never fails
		n := messaging.NewNotifier(t, &messaging.NotifierOptions{Outlets: []messaging.Outlet{router}})
		return n.Info(ctx, "compute.instance.exists", map[string]string{"instance_id": "i-1"})
	}
	_ = serve
}

func ExampleParse() {
	routes, err := messagingrouting.Parse("routes.yaml", `
group_1:
  messagingv2:
    accepted_events: ["compute.*"]
  log:
    accepted_priorities: [error, critical]
`)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(routes.Match("compute.instance.create.error", messaging.PriorityError))
	fmt.Println(routes.Match("volume.create.end", messaging.PriorityInfo))

	_, err = messagingrouting.Parse("routes.yaml", "group_1:\n  log:\n    accepted_priority: [error]\n")
	fmt.Println(err)
	// Output:
	// [messagingv2 log]
	// []
	// routes.yaml:3: group "group_1", outlet "log", accepted_priority: there is no such rule; the rules are accepted_events and accepted_priorities
}

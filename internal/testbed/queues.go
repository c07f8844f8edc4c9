// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/peertest"
)

// operatorTimeout bounds what a test does to the broker as its operator would.
const operatorTimeout = 20 * time.Second

// Queues returns the names of a vhost's queues that begin with prefix.
func Queues(tb testing.TB, broker *peertest.RabbitMQ, vhost, prefix string) []string {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), operatorTimeout)
	defer cancel()
	out, err := broker.Ctl(ctx, "list_queues", "-p", vhost, "name", "--no-table-headers")
	if err != nil {
		tb.Fatal(err)
	}
	names := strings.Fields(out)
	return slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, prefix) })
}

// DeleteQueues deletes queues with everything in them, whoever uses them. It speaks AMQP,
// which is quicker than rabbitmqctl.
func DeleteQueues(tb testing.TB, broker *peertest.RabbitMQ, vhost string, names ...string) {
	tb.Helper()
	peer := NewRawPeer(tb, broker, vhost)
	for _, name := range names {
		if _, err := peer.QueueDelete(name, false, false, false); err != nil {
			tb.Fatalf("delete queue %s: %v", name, err)
		}
	}
}

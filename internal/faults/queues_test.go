// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/parleymq/parley/internal/peertest"
)

// mustLeaveQueues checks the queues when all applications have ended: those that are shared
// are empty, and the others end by themselves.
func mustLeaveQueues(t *testing.T, broker *peertest.RabbitMQ, vhost string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := broker.Ctl(ctx, "list_queues", "-p", vhost, "name", "messages", "consumers", "arguments", "--formatter", "json")
	if err != nil {
		t.Fatal(err)
	}
	var queues []struct {
		Name      string
		Messages  int
		Consumers int
		Arguments json.RawMessage
	}
	if err := json.Unmarshal([]byte(out), &queues); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	transient := 0
	for _, q := range queues {
		private := strings.HasPrefix(q.Name, "reply_") || strings.HasPrefix(q.Name, topic+"_fanout_")
		switch {
		case q.Consumers > 0:
			t.Errorf("queue %s has %d consumers", q.Name, q.Consumers)
		case !private && q.Messages > 0:
			t.Errorf("queue %s has %d messages", q.Name, q.Messages)
		case private && !strings.Contains(string(q.Arguments), "x-expires"):
			t.Errorf("queue %s never ends: %s", q.Name, q.Arguments)
		case private:
			transient++
		}
	}
	t.Logf("%d queues, %d of which expire", len(queues), transient)
}

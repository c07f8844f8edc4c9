// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"encoding/json"
	"testing"

	"github.com/parleymq/parley/internal/peertest"
)

// published counts the requests that a client's driver has published through the proxy, by
// their unique ids.
func published(t *testing.T, proxy *peertest.AMQPProxy) map[string]int {
	t.Helper()
	times := make(map[string]int)
	for _, m := range proxy.Methods() {
		if !isRequest(m) {
			continue
		}
		id := uniqueID(m.Body)
		if id == "" {
			t.Fatalf("a request without an id: %s", m.Body)
		}
		times[id]++
	}
	return times
}

// isRequest tells a request from the other methods that a proxy sees.
func isRequest(m peertest.Method) bool {
	return m.FromClient && m.Name == "basic.publish" && m.Args["routing_key"] == topic
}

// uniqueID returns what a receiver knows a message by, empty when there is none.
func uniqueID(body []byte) string {
	var outer struct {
		Message string `json:"oslo.message"`
	}
	var inner struct {
		ID string `json:"_unique_id"`
	}
	if json.Unmarshal(body, &outer) != nil || json.Unmarshal([]byte(outer.Message), &inner) != nil {
		return ""
	}
	return inner.ID
}

// mustPublishOnce checks that no request was published twice, and returns how many there were.
func mustPublishOnce(t *testing.T, proxy *peertest.AMQPProxy) int {
	t.Helper()
	times := published(t, proxy)
	for id, n := range times {
		if n > 1 {
			t.Errorf("the request with the id %s was published %d times", id, n)
		}
	}
	return len(times)
}

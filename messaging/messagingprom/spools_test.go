// SPDX-License-Identifier: Apache-2.0

package messagingprom_test

import (
	"testing"

	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/messaging/messagingprom"
	"github.com/parleymq/parley/messaging/messagingtest"
	"github.com/parleymq/parley/plugin/driver"
)

// TestWatchSpool: what went to the disk, by the transport's and the spool's own count.
func TestWatchSpool(t *testing.T) {
	m := messagingprom.New(nil)
	broker := messagingtest.NewBroker()
	tr := broker.Transport(t, nil)
	s, err := messaging.OpenSpool(tr, &messaging.SpoolOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	broker.Fail(messagingtest.Match{EventType: "e"}, driver.Errorf(driver.ReasonNotConnected, "the broker is away"))
	n := messaging.NewNotifier(tr, &messaging.NotifierOptions{Spool: s})
	if err := n.Info(t.Context(), "e", nil); err != nil {
		t.Fatal(err)
	}
	for {
		if sent := broker.Expect(t, messagingtest.Match{EventType: "e"}); sent.Err == nil {
			break // from the spool
		}
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer m.WatchSpool("audit", s)()
	defer m.Watch("rabbit", tr)()
	expect(t, m, `
# HELP parley_spool_sent_total Stored notifications that the broker has taken.
# TYPE parley_spool_sent_total counter
parley_spool_sent_total{spool="audit"} 1
# HELP parley_spool_stored_total Notifications stored.
# TYPE parley_spool_stored_total counter
parley_spool_stored_total{spool="audit"} 1
# HELP parley_spool_waiting Notifications stored and not yet sent.
# TYPE parley_spool_waiting gauge
parley_spool_waiting{spool="audit"} 0
# HELP parley_transport_notifications_failed_total Notifications that neither the broker nor a spool took.
# TYPE parley_transport_notifications_failed_total counter
parley_transport_notifications_failed_total{transport="rabbit"} 0
# HELP parley_transport_notifications_spooled_total Notifications that went to a spool, to be sent later.
# TYPE parley_transport_notifications_spooled_total counter
parley_transport_notifications_spooled_total{transport="rabbit"} 1
# HELP parley_transport_notifications_total Notifications begun to be sent, one for each topic.
# TYPE parley_transport_notifications_total counter
parley_transport_notifications_total{transport="rabbit"} 1
`, "parley_spool_sent_total", "parley_spool_stored_total", "parley_spool_waiting",
		"parley_transport_notifications_total", "parley_transport_notifications_failed_total", "parley_transport_notifications_spooled_total")
}

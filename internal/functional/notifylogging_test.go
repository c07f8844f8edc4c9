// SPDX-License-Identifier: Apache-2.0

package functional

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/messaging/messagingslog"
)

// TestLoggingNotificationHandler is LoggingNotificationHandlerTestCase in
// oslo_messaging/tests/functional/notify/test_logger.py: five levels in both formats.
func TestLoggingNotificationHandler(t *testing.T) {
	levels := map[messaging.Priority]slog.Level{
		messaging.PriorityDebug: slog.LevelDebug, messaging.PriorityInfo: slog.LevelInfo, messaging.PriorityWarn: slog.LevelWarn,
		messaging.PriorityError: slog.LevelError, messaging.PriorityCritical: messagingslog.LevelCritical,
	}
	onNotifyWires(t, func(t *testing.T, w *world) {
		tr := w.open(t, messaging.Options{})
		for outlet, format := range map[string]messaging.NotificationFormat{"messaging": messaging.NotificationV1, "messagingv2": messaging.NotificationV2} {
			for priority, level := range levels {
				topic := "test_logging_" + string(priority) + "_driver_" + outlet
				var b inbox
				listen(t, tr, topics(topic), nil, b.endpoint())
				n := messaging.NewNotifier(tr, &messaging.NotifierOptions{
					Topics: []string{topic}, Outlets: []messaging.Outlet{messaging.BrokerOutlet(format)}, Timeout: patience,
				})
				h := messagingslog.NewHandler(n, &messagingslog.Options{Level: slog.LevelDebug})
				// Without its place: what is logged in this module is no notification.
				record := slog.NewRecord(time.Now(), level, "Test logging at priority: "+string(priority), 0)
				if err := h.Handle(context.Background(), record); err != nil {
					t.Fatal(err)
				}
				b.wait(t, 1)
				got := b.notifications()[0]
				payload := make(map[string]any)
				if err := got.Decode(&payload); err != nil || got.Priority != priority || got.EventType != "logrecord" {
					t.Errorf("got %+v, %v", got, err)
				}
				for _, key := range []string{
					"name", "thread", "extra", "process", "funcName", "levelno", "processName", "pathname", "lineno", "msg", "exc_info", "levelname",
				} {
					if _, there := payload[key]; !there {
						t.Errorf("%s: the payload has no %s", topic, key)
					}
				}
			}
		}
	})
}

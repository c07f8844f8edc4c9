// SPDX-License-Identifier: Apache-2.0

package messagingslog_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/messaging/internal/driverlog"
	"github.com/parleymq/parley/messaging/messagingtest"
)

// TestDriversLinesAreNoNotifications has lines of a driver process, which have no place in the
// program that made them.
func TestDriversLinesAreNoNotifications(t *testing.T) {
	s := newStage(t, nil)
	lines := driverlog.New(s.logger, time.Now, nil)
	lines.Read(strings.NewReader(`{"@level":"error","@message":"the broker is away"}` + "\n" + "panic: oops\n"))
	s.logger.Log(t.Context(), slog.LevelError, "the application's")
	if p := s.payload(t); p["msg"] != "the application's" {
		t.Errorf("a driver's line became a notification: %v", p)
	}
	if n := len(s.broker.Sent(messagingtest.Match{})); n != 1 {
		t.Errorf("%d notifications", n)
	}
}

// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
)

func TestNamedOutlets(t *testing.T) {
	r, tap := tapped(t)
	logs := &recorder{}
	for _, tc := range []struct {
		name         string
		format       NotificationFormat
		logged, noop bool
	}{
		{name: "messaging", format: NotificationV1}, {name: "messagingv2", format: NotificationV2},
		{name: "log", logged: true}, {name: "noop", noop: true},
	} {
		o, err := NamedOutlet(tc.name, logs.logger())
		if err != nil {
			t.Fatal(err)
		}
		n := NewNotifier(r.Transport, &NotifierOptions{Outlets: []Outlet{o}})
		before := len(logs.all())
		if err := n.Info(t.Context(), "e", nil); err != nil {
			t.Fatal(err)
		}
		sent := tap.take()
		switch {
		case tc.format != 0 && (len(sent) != 1 || sent[0].Format != tc.format), tc.format == 0 && len(sent) != 0:
			t.Errorf("%s sent %v", tc.name, sent)
		case tc.logged != (len(logs.all()) == before+1), tc.noop == n.Enabled():
			t.Errorf("%s: logged %v, enabled %v", tc.name, logs.all(), n.Enabled())
		}
	}
	_, err := NamedOutlet("routing\n", nil)
	if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "messagingrouting") {
		t.Errorf("got %v", err)
	}
}

func TestLogOutlet(t *testing.T) {
	r, tap := tapped(t)
	logs := &recorder{}
	n := NewNotifier(r.Transport, &NotifierOptions{PublisherID: "compute.host1", Outlets: []Outlet{LogOutlet(logs.logger())}, Context: WholeContext()})
	ctx := WithRequestContext(t.Context(), RequestContext{"auth_token": "PLANTED", "request_id": "req-1"})
	payload := map[string]any{"password": "PLANTED", "deep": []any{map[string]any{"admin_pass": "PLANTED", "name": "db"}}}
	levels := map[Priority]slog.Level{
		PriorityAudit: slog.LevelInfo, PriorityDebug: slog.LevelDebug, PriorityInfo: slog.LevelInfo, PriorityWarn: slog.LevelWarn,
		PriorityError: slog.LevelError, PriorityCritical: slog.LevelError + 4, PrioritySample: slog.LevelInfo,
	}
	for p, level := range levels {
		before := len(logs.all())
		if err := n.Notify(ctx, p, "db.create", payload); err != nil {
			t.Fatal(err)
		}
		lines := logs.all()[before:]
		if len(lines) != 1 {
			t.Fatalf("%s: %d records", p, len(lines))
		}
		for _, text := range []string{
			"level=" + level.String(), `msg="notification db.create"`, "notification.publisher_id=compute.host1", "notification.message_id=",
			"notification.priority=" + strings.ToUpper(string(p)), "req-1", "db",
		} {
			if !strings.Contains(lines[0], text) {
				t.Errorf("%s: %q is missing in %s", p, text, lines[0])
			}
		}
		if strings.Contains(lines[0], "PLANTED") {
			t.Errorf("%s: a secret is in %s", p, lines[0])
		}
	}
	if sent := tap.take(); len(sent) > 0 {
		t.Errorf("sent %v", sent)
	}
}

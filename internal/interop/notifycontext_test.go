// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"context"
	"encoding/json"
	"maps"
	"reflect"
	"sync"
	"testing"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/internal/pyjson"
	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

// testGoNotifiesContext: what each filter leaves of a context reaches Python, and no more.
func testGoNotifiesContext(t *testing.T, p *notePeers) {
	sent, _ := decodeJSON(t, []byte(contextText)).(map[string]any)
	safe := map[string]any{"request_id": sent["request_id"], "user": sent["user"], "roles": sent["roles"], "is_admin": true}
	extra := maps.Clone(safe)
	extra["catalog"] = sent["catalog"]
	for name, tc := range map[string]struct {
		filter messaging.ContextFilter
		want   map[string]any
	}{
		"default": {nil, safe},
		"extra":   {messaging.SafeContext("catalog"), extra},
		"whole":   {messaging.WholeContext(), sent},
		"none":    {messaging.NoContext(), map[string]any{}},
	} {
		eachFormat(t, func(t *testing.T, f format) {
			event := "context " + name + " " + f.name
			n := p.goNotifier(messaging.NotifierOptions{Context: tc.filter, Outlets: f.outlets()})
			if err := n.Info(messaging.WithRequestContext(soon(t), sent), event, nil); err != nil {
				t.Fatal(err)
			}
			got := p.pythonHeard(t, event, 1)[0].Ctxt
			delete(got, "client_timeout") // Python's own
			if !sameContext(t, got, tc.want) {
				t.Errorf("%s: got %v, want %v", event, got, tc.want)
			}
		})
	}
	n := p.goNotifier(messaging.NotifierOptions{})
	if err := n.Info(soon(t), "no context", nil); err != nil {
		t.Fatal(err)
	}
	got := p.pythonHeard(t, "no context", 1)[0].Ctxt
	if delete(got, "client_timeout"); len(got) != 0 {
		t.Errorf("without a context Python got %v", got)
	}
}

// sameContext compares contexts one of which came through encoding/json.
func sameContext(t *testing.T, got, want map[string]any) bool {
	t.Helper()
	text, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	again, err := pyjson.Encode(want)
	if err != nil {
		t.Fatal(err)
	}
	var a, b any
	if json.Unmarshal(text, &a) != nil || json.Unmarshal(again, &b) != nil {
		t.Fatal("not JSON")
	}
	return reflect.DeepEqual(a, b)
}

// testPythonNotifiesContext: what each release leaves of a context reaches the handlers, as the
// notification's and as that of the handler's context.
func testPythonNotifiesContext(t *testing.T, p *notePeers) {
	sent := map[string]any{
		"user": "älice ☃ 😀", "user_id": "u1", "request_id": "req-1", "roles": []any{"admin", "member"}, "is_admin": true,
		"count": 3, "none": nil, "auth_token": testbed.Secret + "-token",
	}
	// 14.0.3 has the allow-list of a security fix, 18.3.1 lets the object decide and drops dictionaries.
	listed := messaging.RequestContext{
		"user": sent["user"], "user_id": "u1", "request_id": "req-1", "roles": []any{"admin", "member"}, "is_admin": true,
	}
	redacted := maps.Clone(listed)
	redacted["count"], redacted["none"] = int64(3), nil
	want := map[bool]messaging.RequestContext{false: nil, true: redacted}
	if p.python.Name == peertest.OsloDebian {
		want = map[bool]messaging.RequestContext{false: listed, true: listed}
	}
	var mu sync.Mutex
	handled := make(map[string]messaging.RequestContext)
	ep := messaging.NewNotificationEndpoint(nil)
	h := &heard{}
	ep.Handle(messaging.PriorityInfo, func(ctx context.Context, n *messaging.Notification) error {
		rc, _ := messaging.RequestContextFrom(ctx)
		mu.Lock()
		handled[n.EventType] = rc
		mu.Unlock()
		return h.handle(ctx, n)
	})
	p.listenWith(t, nil, ep, "context.go")
	for _, redacts := range []bool{false, true} {
		if redacts && p.python.Name == peertest.OsloAMQP1 {
			continue // that release cannot send what its redacting makes
		}
		eachFormat(t, func(t *testing.T, f format) {
			event := "context dictionary " + f.name
			if redacts {
				event = "context object " + f.name
			}
			p.notify(t, peertest.Event{Driver: f.driver, Topics: []string{"context.go"}, EventType: event, Ctxt: sent, Redacts: redacts})
			got := h.wait(t, event, 1)[0].Context
			if len(got)+len(want[redacts]) > 0 && !reflect.DeepEqual(got, want[redacts]) {
				t.Errorf("%s: got %v, want %v", event, got, want[redacts])
			}
			mu.Lock()
			defer mu.Unlock()
			if len(got)+len(handled[event]) > 0 && !reflect.DeepEqual(got, handled[event]) {
				t.Errorf("%s: the handler's context has %v", event, handled[event])
			}
		})
	}
}

// SPDX-License-Identifier: Apache-2.0

package envelope

import (
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

const deadlineMillis = 1_700_000_000_123

func TestDeadlineCrosses(t *testing.T) {
	for _, kind := range []driver.Kind{driver.Call, driver.Cast} {
		m := &driver.Message{Kind: kind, Body: []byte(`{"method": "m"}`), Deadline: time.UnixMilli(deadlineMillis).Add(time.Microsecond)}
		if kind == driver.Call {
			m.CallID, m.ReplyTo = "c", "r"
		}
		text, err := Append(nil, m)
		if err != nil || !strings.Contains(string(text), `\"_parley_deadline\": 1700000000123`) {
			t.Fatalf("%s: %s, %v", kind, text, err)
		}
		got := decode(t, string(text))
		if got.Kind != kind || got.Deadline.UnixMilli() != deadlineMillis || string(got.Body) != `{"method": "m"}` {
			t.Errorf("got a %s of %v with %s", got.Kind, got.Deadline, got.Body)
		}
	}
}

func TestDeadlineOnlyInRequests(t *testing.T) {
	for _, m := range []driver.Message{
		{Kind: driver.Reply, CallID: "c", Body: []byte(`1`)},
		{Kind: driver.Notification, Format: driver.NotificationV1, Body: []byte(`{"event_type": "e"}`)},
		{Kind: driver.Heartbeat, CallID: "c"},
	} {
		m.Deadline = time.UnixMilli(deadlineMillis)
		text, err := Append(nil, &m)
		if err != nil || strings.Contains(string(text), deadlineKey) {
			t.Errorf("%s: %s, %v", m.Kind, text, err)
		}
	}
}

// TestDeadlineOfAPeer has what a peer may write: it is never refused and never in the body.
func TestDeadlineOfAPeer(t *testing.T) {
	for value, want := range map[string]int64{
		`1700000000123`: deadlineMillis, `1`: 1, `8796093022208`: 1 << 43,
		`8796093022209`: 0, `0`: 0, `-1`: 0, `1.5`: 0, `1e12`: 0, `99999999999999999999`: 0,
		`null`: 0, `"1700000000123"`: 0, `true`: 0, `[1]`: 0, `{"a": 1}`: 0, `NaN`: 0,
	} {
		got := decode(t, wrap(`{"method": "m", "_parley_deadline": `+value+`, "args": {}}`))
		if got.Deadline.IsZero() != (want == 0) || want != 0 && got.Deadline.UnixMilli() != want {
			t.Errorf("%s: got %v", value, got.Deadline)
		}
		if string(got.Body) != `{"method": "m", "args": {}}` {
			t.Errorf("%s: the body is %s", value, got.Body)
		}
	}
}

func TestDeadlineCostsNothing(t *testing.T) {
	m := &driver.Message{Kind: driver.Cast, Body: []byte(`{"method": "m"}`), Deadline: time.UnixMilli(deadlineMillis)}
	dst := make([]byte, 0, 1024)
	without := *m
	without.Deadline = time.Time{}
	count := func(m *driver.Message) float64 {
		return testing.AllocsPerRun(100, func() {
			if _, err := Append(dst, m); err != nil {
				t.Error(err)
			}
		})
	}
	if with, bare := count(m), count(&without); with > bare {
		t.Errorf("%v allocations with Deadline, %v without", with, bare)
	}
}

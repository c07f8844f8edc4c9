// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestDeadlineMillis(t *testing.T) {
	for _, tt := range []struct {
		at   time.Time
		want int64
	}{
		{time.Time{}, 0},
		{time.UnixMilli(1700000000123), 1700000000123},
		{time.UnixMilli(1700000000123).Add(999 * time.Microsecond), 1700000000123},
		{time.UnixMilli(-5), 0},
		{time.UnixMilli(maxDeadlineMillis), maxDeadlineMillis},
		{time.UnixMilli(maxDeadlineMillis + 1), 0},
	} {
		m := Message{Deadline: tt.at}
		if got := m.DeadlineMillis(); got != tt.want {
			t.Errorf("%v: got %d, want %d", tt.at, got, tt.want)
		}
	}
	for _, ms := range []int64{0, -1, math.MinInt64, math.MaxInt64, maxDeadlineMillis + 1} {
		if got := DeadlineTime(ms); !got.IsZero() {
			t.Errorf("%d is %v", ms, got)
		}
	}
}

func TestWaited(t *testing.T) {
	for _, tt := range []struct{ left, by, want time.Duration }{
		{0, time.Hour, 0},
		{time.Second, 0, time.Second},
		{time.Second, time.Millisecond, 999 * time.Millisecond},
		{time.Second, time.Second, -1},
		{time.Second, 3 * time.Second, -2 * time.Second},
		{-time.Second, time.Second, -2 * time.Second},
		{-time.Second, -time.Second, -1},
		{math.MinInt64, time.Second, math.MinInt64},
		{math.MaxInt64, -time.Second, math.MaxInt64},
	} {
		m := Message{TimeLeft: tt.left}
		if m.Waited(tt.by); m.TimeLeft != tt.want {
			t.Errorf("%v waited %v: got %v, want %v", tt.left, tt.by, m.TimeLeft, tt.want)
		}
	}
}

func TestCheckHeaders(t *testing.T) {
	many := make(map[string]string)
	for i := range MaxHeaders {
		many[strings.Repeat("k", i+1)] = ""
	}
	more := map[string]string{"": "", "other": ""}
	for k := range many {
		more[k] = ""
	}
	for _, tt := range []struct {
		name    string
		headers map[string]string
		want    Reason
	}{
		{"none", nil, ""},
		{"as many as may be", many, ""},
		{"too many", more, ReasonMessageTooLarge},
		{"as large as may be", map[string]string{"k": strings.Repeat("v", MaxHeaderBytes-1)}, ""},
		{"too large", map[string]string{"k": strings.Repeat("v", MaxHeaderBytes)}, ReasonMessageTooLarge},
		{"no text", map[string]string{"k": "\xff"}, ReasonUnsupported},
		{"no text in the name", map[string]string{"\xff": ""}, ReasonUnsupported},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := CheckHeaders(tt.headers)
			if (err == nil) != (tt.want == "") || err != nil && ReasonOf(err) != tt.want {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parleymq/parley/messaging"
)

func TestPercentile(t *testing.T) {
	var hundred []time.Duration
	for i := range 100 {
		hundred = append(hundred, time.Duration(i+1))
	}
	tests := []struct {
		sorted []time.Duration
		p      float64
		want   time.Duration
	}{
		{hundred, 50, 50}, {hundred, 90, 90}, {hundred, 99, 99}, {hundred, 100, 100}, {hundred, 0, 1},
		{hundred[:1], 50, 1}, {hundred[:1], 99, 1}, {hundred[:2], 50, 1}, {hundred[:2], 51, 2}, {hundred[:3], 50, 2},
	}
	for _, test := range tests {
		if got := percentile(test.sorted, test.p); got != test.want {
			t.Errorf("p%v of %d: got %d, want %d", test.p, len(test.sorted), got, test.want)
		}
	}
}

func TestLoadCountsCalls(t *testing.T) {
	var running, most, made atomic.Int64
	l := &load{inFlight: 4, call: func(context.Context) error {
		n := running.Add(1)
		defer running.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		if made.Add(1)%10 == 0 {
			return &messaging.RemoteError{Class: "KeyError"}
		}
		return nil
	}}
	r := l.run(t.Context(), 0, 100)
	if len(r.latencies) != 90 || r.failed() != 10 || r.errors["remote_error KeyError"] != 10 || r.interrupted {
		t.Errorf("got %d calls, errors %v", len(r.latencies), r.errors)
	}
	if most.Load() > 4 || running.Load() != 0 {
		t.Errorf("%d were in flight at once, %d are left", most.Load(), running.Load())
	}
	if exitStatus(r.problem(t.Context(), "calls")) != exitRemote {
		t.Errorf("got %v", r.problem(t.Context(), "calls"))
	}
}

func TestLoadEndsInTime(t *testing.T) {
	l := &load{inFlight: 2, call: func(context.Context) error { return nil }}
	r := l.run(t.Context(), 20*time.Millisecond, 0)
	if len(r.latencies) == 0 || r.elapsed < 20*time.Millisecond || r.interrupted {
		t.Errorf("got %d calls in %v", len(r.latencies), r.elapsed)
	}
}

func TestLoadIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{inFlight: 2, call: func(ctx context.Context) error {
		cancel()
		<-ctx.Done()
		return ctx.Err()
	}}
	r := l.run(ctx, time.Hour, 0)
	if !r.interrupted || r.failed() != 0 || !errors.Is(r.problem(ctx, "calls"), context.Canceled) {
		t.Errorf("got %+v", r)
	}
}

func TestServerLines(t *testing.T) {
	var out bytes.Buffer
	l := &serverLines{out: &out, ready: make(chan struct{})}
	for _, part := range []string{"a log line\n{\"event\":\"consu", "ming\"}\n", "{\"error\":{\"code\":\"unavailable\",\"message\":\"m\"}}\nrest"} {
		if n, err := l.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
	}
	select {
	case <-l.ready:
	default:
		t.Error("not ready")
	}
	if out.String() != "a log line\n" || l.failed == nil || l.failed.Code != "unavailable" {
		t.Errorf("got %q, %+v", out.String(), l.failed)
	}
}

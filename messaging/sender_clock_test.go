// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"strconv"
	"testing"
	"time"
)

// Every step is a message with a minute left: sent at, and received at, by the true time.
func TestSenderClock(t *testing.T) {
	type message struct {
		sent, received time.Duration
		want           time.Duration // left; zero or less is over
	}
	const s, m = time.Second, time.Minute
	tests := map[string][]message{
		"nothing waits":                  {{0, s, m}, {10 * s, 11 * s, m}, {20 * s, 21 * s, m}},
		"the first is not known to wait": {{0, 50 * s, m}, {51 * s, 51 * s, m}, {51 * s, 61 * s, 50 * s}},
		"a backlog, oldest first":        {{0, 100 * s, m}, {10 * s, 100 * s, m}, {99 * s, 100 * s, m}, {99 * s, 110 * s, m - 10*s}},
		"a stalled server":               {{0, 0, m}, {10 * s, 130 * s, -m}, {100 * s, 130 * s, 30 * s}, {131 * s, 131 * s, m}},
		"just over":                      {{0, 0, m}, {0, m, 0}, {0, m - 1, 1}},
		"a new generation":               {{0, 0, m}, {11 * m, 11*m + 20*s, 40 * s}, {22 * m, 22*m + 20*s, m}, {23 * m, 23*m + 30*s, m - 10*s}},
	}
	for name, messages := range tests {
		for _, skew := range []time.Duration{0, 3 * time.Hour, -3 * time.Hour, 5 * time.Millisecond} {
			t.Run(name+"/"+skew.String(), func(t *testing.T) {
				start := time.Now()
				c := newSenderClocks(start)
				for i, msg := range messages {
					sent := start.Round(0).Add(msg.sent + skew)
					if got := sentAt(c, "a", sent, start.Add(msg.received), m); got != msg.want {
						t.Errorf("message %d has %s, want %s", i, got, msg.want)
					}
				}
			})
		}
	}
}

// sentAt is a message that was sent at a time with a time left, of which nobody took anything.
func sentAt(c *senderClocks, sender string, at, now time.Time, timeLeft time.Duration) time.Duration {
	deadline := time.Time{}
	if !at.IsZero() {
		deadline = at.Add(timeLeft)
	}
	return c.left(sender, deadline, now, timeLeft)
}

func TestSenderClockDrifts(t *testing.T) {
	start := time.Now()
	c := newSenderClocks(start)
	// A clock that loses a second an hour for a day: 24 s in all, and 20 minutes' worth at once.
	for at := time.Duration(0); at < 24*time.Hour; at += time.Minute {
		sent := start.Round(0).Add(at - at/3600)
		if left := sentAt(c, "a", sent, start.Add(at), time.Minute); left < time.Minute-400*time.Millisecond {
			t.Fatalf("after %s: %s left", at, left)
		}
	}
}

// A sender whose clock is set back is not refused for longer than half a minute.
func TestSenderClockIsSetBack(t *testing.T) {
	start := time.Now()
	c := newSenderClocks(start)
	refused := 0
	for i := range 200 {
		at := time.Duration(i) * time.Second
		sent := start.Round(0).Add(at)
		if i >= 100 {
			sent = sent.Add(-time.Hour)
		}
		if sentAt(c, "a", sent, start.Add(at), time.Minute) <= 0 {
			refused++
		}
		if left := sentAt(c, "b", start.Round(0).Add(at), start.Add(at), time.Minute); left != time.Minute {
			t.Fatalf("another sender has %s", left)
		}
	}
	if refused != 30 {
		t.Errorf("%d refused", refused)
	}
}

func TestSenderClockKnowsNothing(t *testing.T) {
	now := time.Now()
	c := newSenderClocks(now)
	sentAt(c, "a", now, now, time.Minute)
	for name, got := range map[string]time.Duration{
		"no time of sending": sentAt(c, "a", time.Time{}, now.Add(time.Hour), time.Minute),
		"no sender":          sentAt(c, "", now, now.Add(time.Hour), time.Minute),
		"held by the driver": c.left("a", now.Add(time.Minute), now.Add(50*time.Second), 10*time.Second) + 50*time.Second,
	} {
		if got != time.Minute {
			t.Errorf("%s: %s", name, got)
		}
	}
	// It waited for 50 s, of which a driver knows 20.
	if got := c.left("a", now.Add(time.Minute), now.Add(50*time.Second), 40*time.Second); got != 10*time.Second {
		t.Errorf("held for less: %s", got)
	}
}

func TestSendersAreBounded(t *testing.T) {
	now := time.Now()
	c := newSenderClocks(now)
	for i := range 10 * maxSenders {
		sentAt(c, strconv.Itoa(i), now, now, time.Minute)
		sentAt(c, "busy", now, now, time.Minute)
	}
	if n := len(c.now) + len(c.old); n > 2*maxSenders {
		t.Errorf("%d senders are known", n)
	}
	if got := sentAt(c, "busy", now, now.Add(20*time.Second), time.Minute); got != 40*time.Second {
		t.Errorf("a busy sender was forgotten: %s", got)
	}
}

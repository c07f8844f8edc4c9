// SPDX-License-Identifier: Apache-2.0

package host

import (
	"testing"
	"time"
)

func TestBreaker(t *testing.T) {
	type failure struct {
		at, lived int // seconds
		open      bool
	}
	for name, tt := range map[string]struct {
		limit    int
		failures []failure
	}{
		"opens at the limit":             {3, []failure{{0, 0, false}, {1, 0, false}, {2, 0, true}}},
		"forgets what is long ago":       {3, []failure{{0, 0, false}, {1, 0, false}, {61, 0, false}, {62, 0, false}, {63, 0, true}}},
		"stays open when the try fails":  {2, []failure{{0, 0, false}, {1, 0, true}, {90, 0, true}, {200, 5, true}}},
		"closes after a stable life":     {2, []failure{{0, 0, false}, {1, 0, true}, {90, 10, false}, {91, 0, true}}},
		"a stable life is a new count":   {2, []failure{{0, 0, false}, {20, 10, false}, {21, 0, true}}},
		"never with a negative limit":    {-1, []failure{{0, 0, false}, {0, 0, false}, {0, 0, false}, {0, 0, false}}},
		"one failure can be enough":      {1, []failure{{0, 0, true}}},
		"the window is not a fixed grid": {3, []failure{{0, 0, false}, {59, 0, false}, {61, 0, false}, {118, 0, true}}},
	} {
		t.Run(name, func(t *testing.T) {
			b := breaker{limit: tt.limit, window: time.Minute, stable: 10 * time.Second}
			start := time.Now()
			for i, f := range tt.failures {
				if open := b.failed(start.Add(seconds(f.at)), seconds(f.lived)); open != f.open {
					t.Errorf("failure %d at %ds: open %t", i, f.at, open)
				}
			}
		})
	}
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

func TestBackoff(t *testing.T) {
	b := backoff{min: 100 * time.Millisecond, max: 10 * time.Second, stable: 10 * time.Second}
	within := func(what string, d, want time.Duration) {
		t.Helper()
		if d < want/2 || d > want {
			t.Errorf("%s: %v, want %v to %v", what, d, want/2, want)
		}
	}
	for i, want := range []int{100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000} {
		within("failure "+string(rune('1'+i)), b.after(false, 0), time.Duration(want)*time.Millisecond)
	}
	within("after it was ready", b.after(true, time.Second), readyBackoffMax)
	within("after a stable life", b.after(true, 11*time.Second), 100*time.Millisecond)
}

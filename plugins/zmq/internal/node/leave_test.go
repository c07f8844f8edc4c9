// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// hanging is a registry that does not take its record back.
type hanging struct{ *memoryRegistry }

func (hanging) Close(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// TestLeaveIsBounded: a registry that hangs takes a part of Close's time, whatever that is, and the
// error says what was not done.
func TestLeaveIsBounded(t *testing.T) {
	for _, tt := range []struct {
		name  string
		limit time.Duration // of Close; 0 for none
		want  string
	}{
		{"no time at all", time.Nanosecond, "within 1s"},
		{"some time", 3900 * time.Millisecond, "within 1"},
		{"any time", 0, "within 3s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			n := w.open(func(o *Options) { o.Registry = hanging{w.memory.open()} })
			ctx := t.Context()
			if tt.limit > 0 {
				limited, cancel := context.WithTimeout(ctx, tt.limit)
				defer cancel()
				ctx = limited
			}
			err := n.Close(ctx)
			w.wantError(err, driver.ReasonNotConnected, false)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
		})
	}
}

// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"fmt"
	"os"
	"testing"
)

// TestCrashWhileCompacting: the old segment is still there, beside the one that its entries were
// moved to, wholly or in part.
func TestCrashWhileCompacting(t *testing.T) {
	for _, whole := range []bool{true, false} {
		t.Run(fmt.Sprint("whole=", whole), func(t *testing.T) {
			o := Options{Dir: t.TempDir()}
			s := open(t, o)
			put(t, s, "a", "1", "2", "3", "4")
			done(t, s, take(t, s, "a", 1))
			shut(t, s)
			old, err := os.ReadFile(lastSegment(t, o.Dir))
			if err != nil {
				t.Fatal(err)
			}
			frame := (len(old) - len(segmentMagic)) / 4
			moved := append([]byte(segmentMagic), old[len(segmentMagic)+frame:]...)
			if !whole {
				moved = moved[:len(moved)-3]
			}
			if err := os.WriteFile(segmentPath(o.Dir, 9), moved, 0o600); err != nil {
				t.Fatal(err)
			}
			s = open(t, o)
			if got := s.Stats().Segments; got != 1 {
				t.Errorf("%d segments", got)
			}
			all := take(t, s, "a", 9)
			want(t, all, "2", "3", "4")
			done(t, s, all[:2])
			shut(t, s)
			s = open(t, o)
			want(t, take(t, s, "a", 9), "4")
		})
	}
}

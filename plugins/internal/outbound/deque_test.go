// SPDX-License-Identifier: Apache-2.0

package outbound_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/parleymq/parley/plugins/internal/outbound"
)

func TestDeque(t *testing.T) {
	var d outbound.Deque[int]
	var want []int
	for i := range 2000 {
		switch r := rand.IntN(6); {
		case r < 3:
			d.PushBack(i)
			want = append(want, i)
		case r == 3:
			d.PushFront(i)
			want = append([]int{i}, want...)
		case r == 4 && len(want) > 0:
			if got := d.PopFront(); got != want[0] {
				t.Fatalf("PopFront: got %d, want %d", got, want[0])
			}
			want = want[1:]
		case r == 5 && len(want) > 0:
			if got := d.PopBack(); got != want[len(want)-1] {
				t.Fatalf("PopBack: got %d", got)
			}
			want = want[:len(want)-1]
		}
		if d.Len() != len(want) || len(want) > 0 && d.At(len(want)/2) != want[len(want)/2] {
			t.Fatalf("step %d: the contents differ", i)
		}
	}
}

func TestKeep(t *testing.T) {
	var d outbound.Deque[int]
	for i := range 40 {
		d.PushBack(i)
	}
	for range 7 {
		d.PopFront() // the ring begins elsewhere
	}
	d.Keep(func(i int) bool { return i%3 == 0 })
	var got []int
	for i := range d.Len() {
		got = append(got, d.At(i))
	}
	if want := []int{9, 12, 15, 18, 21, 24, 27, 30, 33, 36, 39}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

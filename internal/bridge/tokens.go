// SPDX-License-Identifier: Apache-2.0

package bridge

// tokenWindow maps our tokens, which count from 1 so that settlements travel as runs, to the
// driver's.
type tokenWindow struct {
	base  uint64 // the token of items[0]; 0 before the first
	items []tokenSlot
}

type tokenSlot struct {
	token uint64
	open  bool
}

func (w *tokenWindow) push(token uint64) uint64 {
	if w.base == 0 {
		w.base = 1
	}
	w.items = append(w.items, tokenSlot{token: token, open: true})
	return w.next() - 1
}

// next is the token that the next delivery gets.
func (w *tokenWindow) next() uint64 { return max(w.base, 1) + uint64(len(w.items)) }

// take returns the driver's token, once.
func (w *tokenWindow) take(own uint64) (uint64, bool) {
	if w.base == 0 || own < w.base || own-w.base >= uint64(len(w.items)) || !w.items[own-w.base].open {
		return 0, false
	}
	slot := &w.items[own-w.base]
	slot.open = false
	token := slot.token
	n := 0
	for n < len(w.items) && !w.items[n].open {
		n++
	}
	w.base += uint64(n)
	if n == len(w.items) {
		w.items = w.items[:0]
	} else {
		w.items = w.items[n:]
	}
	return token, true
}

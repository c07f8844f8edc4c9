// SPDX-License-Identifier: Apache-2.0

package bridge

// window holds the messages in flight by number. Numbers are handed out in order and mostly
// come back in order, so a slice that starts at the oldest one is all it takes.
type window struct {
	base  uint64 // the number of items[0]
	items []*outgoing
}

// push adds an item and returns its number.
func (w *window) push(o *outgoing) uint64 {
	w.items = append(w.items, o)
	return w.next() - 1
}

// next is the number that the next item gets.
func (w *window) next() uint64 { return w.base + uint64(len(w.items)) }

// take removes and returns the item of a number, nil when it is not there.
func (w *window) take(number uint64) *outgoing {
	if number < w.base || number-w.base >= uint64(len(w.items)) {
		return nil
	}
	o := w.items[number-w.base]
	w.items[number-w.base] = nil
	w.trim()
	return o
}

// trim drops what is settled at the front.
func (w *window) trim() {
	n := 0
	for n < len(w.items) && w.items[n] == nil {
		n++
	}
	w.base += uint64(n)
	if n == len(w.items) {
		w.items = w.items[:0] // keeps the memory: this is the usual case
		return
	}
	w.items = w.items[n:]
}

// takeAll removes and returns everything.
func (w *window) takeAll() []*outgoing {
	var all []*outgoing
	for _, o := range w.items {
		if o != nil {
			all = append(all, o)
		}
	}
	w.base += uint64(len(w.items))
	w.items = nil
	return all
}

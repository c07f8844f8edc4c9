// SPDX-License-Identifier: Apache-2.0

package outbound

// Deque is a queue with two ends in a ring that grows. Its zero value is empty; it has no lock.
type Deque[T any] struct {
	ring []T
	head int
	n    int
}

// Len is how many there are.
func (d *Deque[T]) Len() int { return d.n }

// At returns element i, counted from the front.
func (d *Deque[T]) At(i int) T { return d.ring[(d.head+i)&(len(d.ring)-1)] }

// PushBack puts v behind all others.
func (d *Deque[T]) PushBack(v T) {
	d.grow()
	d.ring[(d.head+d.n)&(len(d.ring)-1)] = v
	d.n++
}

// PushFront puts v before all others.
func (d *Deque[T]) PushFront(v T) {
	d.grow()
	d.head = (d.head - 1) & (len(d.ring) - 1)
	d.ring[d.head] = v
	d.n++
}

// PopFront takes the first. There must be one.
func (d *Deque[T]) PopFront() T {
	var zero T
	v := d.ring[d.head]
	d.ring[d.head] = zero
	d.head = (d.head + 1) & (len(d.ring) - 1)
	d.n--
	return v
}

// PopBack takes the last. There must be one.
func (d *Deque[T]) PopBack() T {
	var zero T
	i := (d.head + d.n - 1) & (len(d.ring) - 1)
	v := d.ring[i]
	d.ring[i] = zero
	d.n--
	return v
}

// Keep removes what f does not want, in order.
func (d *Deque[T]) Keep(f func(T) bool) {
	for range d.n {
		if v := d.PopFront(); f(v) {
			d.PushBack(v)
		}
	}
}

// grow makes room for one more; the size is a power of two.
func (d *Deque[T]) grow() {
	if d.n < len(d.ring) {
		return
	}
	ring := make([]T, max(16, 2*len(d.ring)))
	for i := range d.n {
		ring[i] = d.At(i)
	}
	d.ring, d.head = ring, 0
}

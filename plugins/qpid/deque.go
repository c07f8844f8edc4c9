// SPDX-License-Identifier: Apache-2.0

package main

// deque is a queue in a ring that grows.
type deque[T any] struct {
	ring []T
	head int
	n    int
}

func (d *deque[T]) len() int { return d.n }

// at returns element i, counted from the front.
func (d *deque[T]) at(i int) T { return d.ring[(d.head+i)&(len(d.ring)-1)] }

func (d *deque[T]) pushBack(v T) {
	d.grow()
	d.ring[(d.head+d.n)&(len(d.ring)-1)] = v
	d.n++
}

func (d *deque[T]) pushFront(v T) {
	d.grow()
	d.head = (d.head - 1) & (len(d.ring) - 1)
	d.ring[d.head] = v
	d.n++
}

func (d *deque[T]) popFront() T {
	var zero T
	v := d.ring[d.head]
	d.ring[d.head] = zero
	d.head = (d.head + 1) & (len(d.ring) - 1)
	d.n--
	return v
}

// keep removes what f does not want, in order.
func (d *deque[T]) keep(f func(T) bool) {
	for range d.n {
		if v := d.popFront(); f(v) {
			d.pushBack(v)
		}
	}
}

// grow makes room for one more; the size is a power of two.
func (d *deque[T]) grow() {
	if d.n < len(d.ring) {
		return
	}
	ring := make([]T, max(16, 2*len(d.ring)))
	for i := range d.n {
		ring[i] = d.ring[(d.head+i)&(len(d.ring)-1)]
	}
	d.ring, d.head = ring, 0
}

// SPDX-License-Identifier: Apache-2.0

package node

// queue is first in, first out. It gives back its memory when it is empty.
type queue[T any] struct {
	items []T
	head  int
}

func (q *queue[T]) len() int { return len(q.items) - q.head }

func (q *queue[T]) push(v T) { q.items = append(q.items, v) }

func (q *queue[T]) first() T { return q.items[q.head] }

func (q *queue[T]) pop() T {
	var zero T
	v := q.items[q.head]
	q.items[q.head] = zero
	q.head++
	switch {
	case q.head == len(q.items):
		if cap(q.items) > 1024 {
			q.items = nil
		}
		q.items, q.head = q.items[:0], 0
	case q.head > 1024 && q.head > len(q.items)/2:
		q.items = append(q.items[:0], q.items[q.head:]...)
		q.head = 0
	}
	return v
}

// each calls f for all, in order.
func (q *queue[T]) each(f func(T)) {
	for _, v := range q.items[q.head:] {
		f(v)
	}
}

// keep removes what f does not want.
func (q *queue[T]) keep(f func(T) bool) {
	kept := q.items[:0]
	for _, v := range q.items[q.head:] {
		if f(v) {
			kept = append(kept, v)
		}
	}
	clear(q.items[len(kept):])
	q.items, q.head = kept, 0
}

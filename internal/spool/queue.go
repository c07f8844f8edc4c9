// SPDX-License-Identifier: Apache-2.0

package spool

import (
	"cmp"
	"slices"
)

// item is where an entry is.
type item struct {
	id   uint64
	at   int64 // in milliseconds
	seg  *segment
	off  int64
	size int32 // of its frame
}

type takenItem struct {
	item
	key string
}

// queue holds the waiting entries of one key, the oldest first.
type queue struct {
	items []item
	head  int
	// back were taken and given back, in the order of their ids; most are older than items.
	back []item
}

func (q *queue) len() int { return len(q.items) - q.head + len(q.back) }

// push adds the newest.
func (q *queue) push(it item) { q.items = append(q.items, it) }

// giveBack adds one that was popped.
func (q *queue) giveBack(it item) {
	i, _ := slices.BinarySearchFunc(q.back, it.id, func(it item, id uint64) int { return cmp.Compare(it.id, id) })
	q.back = slices.Insert(q.back, i, it)
}

// front returns the oldest, or nil.
func (q *queue) front() *item {
	switch {
	case len(q.back) > 0 && (q.head == len(q.items) || q.back[0].id < q.items[q.head].id):
		return &q.back[0]
	case q.head < len(q.items):
		return &q.items[q.head]
	default:
		return nil
	}
}

// pop takes the oldest; there must be one.
func (q *queue) pop() item {
	it := *q.front()
	if len(q.back) > 0 && q.back[0].id == it.id {
		q.back = slices.Delete(q.back, 0, 1)
		return it
	}
	q.items[q.head] = item{}
	if q.head++; q.head >= 64 && q.head*2 >= len(q.items) {
		q.items = slices.Clone(q.items[q.head:])
		q.head = 0
	}
	return it
}

// sort orders what was pushed.
func (q *queue) sort() {
	slices.SortFunc(q.items, func(a, b item) int { return cmp.Compare(a.id, b.id) })
}

// each visits all.
func (q *queue) each(visit func(*item)) {
	for i := range q.back {
		visit(&q.back[i])
	}
	for i := q.head; i < len(q.items); i++ {
		visit(&q.items[i])
	}
}

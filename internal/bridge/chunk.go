// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"slices"

	"github.com/parleymq/parley/plugin/driver"
	pb "github.com/parleymq/parley/plugin/proto"
)

// maxPartials is how many messages of a stream may be begun and not finished.
const maxPartials = 16

// large is a message on its way in chunks.
type large[T any] struct {
	of     T
	number uint64    // of its chunks; 0 before the first
	fields [3][]byte // what is left of context, body and failure
	total  int       // bytes of all three
	left   int
}

func newLarge[T any](of T, m *driver.Message) *large[T] {
	n := len(m.Context) + len(m.Body) + len(m.Failure)
	return &large[T]{of: of, fields: [3][]byte{m.Context, m.Body, m.Failure}, total: n, left: n}
}

// chunkQueue decides which large message of a stream has the next chunk. They begin in order and
// then take turns, so that a huge one does not hold up the others. Its owner guards it.
type chunkQueue[T any] struct {
	size  int // of a chunk
	limit int // bytes of those that are begun; one alone always fits

	items []*large[T] // those begun are first
	begun int
	next  int    // whose turn it is, among those begun
	last  uint64 // the number that was given last
}

func (q *chunkQueue[T]) empty() bool { return len(q.items) == 0 }

func (q *chunkQueue[T]) push(l *large[T]) { q.items = append(q.items, l) }

// load is the bytes of all of these messages but the largest.
func load[T any](items []*large[T]) int {
	sum, largest := 0, 0
	for _, l := range items {
		sum += l.total
		largest = max(largest, l.total)
	}
	return sum - largest
}

// mayBegin reports whether one more fits: within the limit, and, but for the largest, within
// what is left of a byte credit.
func (q *chunkQueue[T]) mayBegin(credit int) bool {
	if q.begun == len(q.items) || q.begun == maxPartials || credit <= 0 {
		return false
	}
	if q.begun == 0 {
		return true
	}
	sum := 0
	for _, l := range q.items[:q.begun+1] {
		sum += l.total
	}
	return sum <= q.limit && load(q.items[:q.begun+1]) < credit
}

// turn returns the message that has the next chunk, nil for none.
func (q *chunkQueue[T]) turn(credit int) *large[T] {
	for q.mayBegin(credit) {
		q.begun++
	}
	if q.begun == 0 {
		return nil
	}
	if q.next >= q.begun {
		q.next = 0
	}
	return q.items[q.next]
}

// cut makes the next chunk of the message that turn returned. With its last chunk the message is
// removed: its head is due.
func (q *chunkQueue[T]) cut(l *large[T]) *pb.Chunk {
	c := new(pb.Chunk)
	if l.number == 0 {
		q.last++
		l.number = q.last
		c.Total = uint64(l.total)
	}
	c.Number = l.number
	room := q.size
	for i, to := range [...]*[]byte{&c.Context, &c.Body, &c.Failure} {
		n := min(room, len(l.fields[i]))
		*to, l.fields[i] = l.fields[i][:n:n], l.fields[i][n:]
		room -= n
	}
	l.left -= q.size - room
	if l.left == 0 {
		q.remove(l)
	} else {
		q.next++
	}
	return c
}

// remove takes a message out. It reports whether its chunks must be aborted.
func (q *chunkQueue[T]) remove(l *large[T]) bool {
	i := slices.Index(q.items, l)
	if i < 0 {
		return false
	}
	q.items = slices.Delete(q.items, i, i+1)
	if i >= q.begun {
		return false
	}
	q.begun--
	if i < q.next {
		q.next--
	}
	return l.number != 0 && l.left > 0
}

func abortChunk(number uint64) *pb.Chunk { return &pb.Chunk{Number: number, Abort: true} }

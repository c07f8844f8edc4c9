// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"slices"
	"sync"
)

// board shows what a registry knows: it is View, Changed and Health of all kinds of registries.
type board struct {
	mu      sync.Mutex // guards all below
	view    *View
	changed chan struct{} // closed and replaced with each new view
	err     error
}

func newBoard() *board {
	return &board{view: &View{Records: map[string]*Record{}}, changed: make(chan struct{})}
}

// View implements Registry.
func (b *board) View() *View {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.view
}

// Changed implements Registry. Who takes the channel first and looks at View then misses nothing.
func (b *board) Changed() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.changed
}

// Health implements Registry.
func (b *board) Health() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// setHealth replaces what Health returns and returns what it was.
func (b *board) setHealth(err error) (before error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before, b.err = b.err, err
	return before
}

// show makes a view of records and addresses, and wakes who waits when it is another one. An
// older version of a record never replaces a newer one: it is an echo.
func (b *board) show(records map[string]*Record, addresses []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	same := len(records) == len(b.view.Records) && slices.Equal(addresses, b.view.Addresses)
	next := make(map[string]*Record, len(records))
	for id, rec := range records {
		old := b.view.Records[id]
		switch {
		case old == nil:
			same = false
		case old == rec:
		case old.Version > rec.Version || old.equal(rec):
			rec = old
		default:
			same = false
		}
		next[id] = rec
	}
	if same {
		return
	}
	b.view = &View{Records: next, Addresses: addresses}
	close(b.changed)
	b.changed = make(chan struct{})
}

// SPDX-License-Identifier: Apache-2.0

package zmtp

import (
	"errors"
	"testing"
	"time"
)

func TestBudgetIsGivenBack(t *testing.T) {
	b := NewBudget(100)
	g, other := &grant{revoke: func(error) {}}, &grant{revoke: func(error) {}}
	never := make(chan struct{})
	for range 2 {
		if err := b.take(g, 50, never); err != nil {
			t.Fatal(err)
		}
	}
	over := make(chan struct{})
	close(over)
	if err := b.take(other, 1, over); !errors.Is(err, ErrClosed) || b.held() != 100 {
		t.Errorf("%v, %d held", err, b.held())
	}
	time.AfterFunc(10*time.Millisecond, func() { b.give(g) })
	if err := b.take(other, 1, never); err != nil || b.held() != 1 {
		t.Errorf("%v, %d held", err, b.held())
	}
	b.give(g) // again, which is nothing
	b.give(other)
	if b.held() != 0 || len(b.grants) != 0 {
		t.Errorf("%d held", b.held())
	}
	// The biggest message alone is always taken.
	if err := b.take(g, 1000, never); err != nil {
		t.Error(err)
	}
	b.give(g)
}

// Who holds much and sends little makes room, and who is quick does not.
func TestBudgetRevokesTheSlowest(t *testing.T) {
	b := NewBudget(100 * mib)
	never := make(chan struct{})
	revoked := make(chan string, 2)
	hold := func(name string, got int64) {
		g := &grant{}
		g.revoke = func(error) {
			revoked <- name
			b.give(g)
		}
		if err := b.take(g, 50*mib, never); err != nil {
			t.Fatal(err)
		}
		g.got.Store(got)
	}
	hold("quick", 49*mib)
	hold("slow", 10)
	if err := b.take(&grant{revoke: func(error) {}}, 50*mib, never); err != nil {
		t.Fatal(err)
	}
	if name := <-revoked; name != "slow" || len(revoked) != 0 {
		t.Errorf("%s was closed", name)
	}
}

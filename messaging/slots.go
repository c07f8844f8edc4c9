// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"sync"
)

// slots counts how many more requests may be taken. One goroutine takes, any may give.
type slots struct {
	wake chan struct{} // has room for one; filled when slots may be free

	mu   sync.Mutex // guards free
	free int
}

func (s *slots) init(n int) {
	s.free = n
	s.wake = make(chan struct{}, 1)
}

// take waits until there are free slots and takes all of them. It returns 0 when ctx ended.
func (s *slots) take(ctx context.Context) int {
	for ctx.Err() == nil {
		if n := s.takeNow(); n > 0 {
			return n
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
		}
	}
	return 0
}

func (s *slots) takeNow() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.free
	if n <= 0 {
		return 0
	}
	s.free = 0
	return n
}

func (s *slots) give(n int) {
	if n == 0 {
		return
	}
	s.mu.Lock()
	s.free += n
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// SPDX-License-Identifier: Apache-2.0

package messaging

import "sync"

// lines lets the jobs of one key run one after another. What waits in it is bounded by the slots of
// its server.
type lines[J any] struct {
	mu    sync.Mutex     // guards byKey
	byKey map[string][]J // those that wait; only keys that have a job running
}

func newLines[J any]() *lines[J] { return &lines[J]{byKey: make(map[string][]J)} }

// enter reports whether a job may begin at once; otherwise next will return it. Jobs without a key
// always may.
func (l *lines[J]) enter(key string, j J) bool {
	if key == "" {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	waiting, busy := l.byKey[key]
	if busy {
		waiting = append(waiting, j)
	}
	l.byKey[key] = waiting
	return !busy
}

// next returns the job whose turn it is when one of its key has ended; false when there is none.
func (l *lines[J]) next(key string) (j J, ok bool) {
	if key == "" {
		return j, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	waiting := l.byKey[key]
	if len(waiting) == 0 {
		delete(l.byKey, key)
		return j, false
	}
	j = waiting[0]
	clear(waiting[:1]) // the rest may stand for long
	l.byKey[key] = waiting[1:]
	return j, true
}

// takeWaiting removes the jobs that wait for their turn and returns them.
func (l *lines[J]) takeWaiting() []J {
	l.mu.Lock()
	defer l.mu.Unlock()
	var taken []J
	for key, waiting := range l.byKey {
		taken = append(taken, waiting...)
		l.byKey[key] = nil
	}
	return taken
}

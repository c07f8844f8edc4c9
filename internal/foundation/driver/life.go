// SPDX-License-Identifier: Apache-2.0

package main

import (
	"sync"
	"time"
)

// sessionGrace is how long this process lives without a session.
const sessionGrace = 30 * time.Second

// life says when this process has no host any more.
type life struct {
	over chan struct{}
	once sync.Once

	mu       sync.Mutex
	sessions int         // guarded by mu
	timer    *time.Timer // runs while there is no session; guarded by mu
}

func newLife() *life {
	l := &life{over: make(chan struct{})}
	l.timer = time.AfterFunc(sessionGrace, l.end)
	return l
}

func (l *life) end() { l.once.Do(func() { close(l.over) }) }

func (l *life) sessionStarted() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sessions++
	l.timer.Stop()
}

func (l *life) sessionEnded() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sessions--; l.sessions == 0 {
		l.timer.Reset(sessionGrace)
	}
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/parleymq/parley/messaging"
)

const (
	pace    = 2 * time.Millisecond // one call is begun each time, whether others wait or not
	timeout = 5 * time.Second      // of a call
)

// chapter is a part of the story, and what became of the calls that ended in it.
type chapter struct {
	title    string
	calls    int            // that ended
	answered map[string]int // by server
	inDoubt  int            // neither answered nor known not to have run
	failed   int            // anything else: there should be none
	pause    time.Duration  // the longest time without an answer
	err      error          // the first that was not an answer

	begun sync.WaitGroup // calls that were begun in it
}

// load calls all the time, from begin to end.
type load struct {
	client *messaging.RPCClient

	mu       sync.Mutex // guards the rest
	chapters []*chapter // the last is now
	last     time.Time  // of the last answer

	cancel context.CancelFunc
	ended  chan struct{}
}

// beginLoad begins to call, and the first chapter.
func beginLoad(ctx context.Context, client *messaging.RPCClient, title string) *load {
	ctx, cancel := context.WithCancel(ctx)
	l := &load{client: client, last: time.Now(), cancel: cancel, ended: make(chan struct{})}
	l.chapter(title)
	go func() {
		defer close(l.ended)
		tick := time.NewTicker(pace)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				l.begin(context.WithoutCancel(ctx))
			case <-ctx.Done():
				return
			}
		}
	}()
	return l
}

// chapter begins one.
func (l *load) chapter(title string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.chapters = append(l.chapters, &chapter{title: title, answered: make(map[string]int)})
}

// begin makes a call in a goroutine of its own.
func (l *load) begin(ctx context.Context) {
	l.mu.Lock()
	begun := &l.chapters[len(l.chapters)-1].begun
	begun.Add(1)
	l.mu.Unlock()
	go func() {
		defer begun.Done()
		server, err := hello.Call(ctx, l.client, helloArgs{Name: "world"})
		l.count(server, err)
	}()
}

func (l *load) count(server string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.chapters[len(l.chapters)-1]
	now.calls++
	switch {
	case err == nil:
		now.answered[server]++
		now.pause = max(now.pause, time.Since(l.last))
		l.last = time.Now()
		return
	case errors.Is(err, messaging.ErrInDoubt), errors.Is(err, messaging.ErrNoReply):
		now.inDoubt++
	default:
		now.failed++
	}
	if now.err == nil {
		now.err = err
	}
}

// settled waits until every call has ended that was begun before this chapter.
func (l *load) settled() {
	l.mu.Lock()
	before := l.chapters[:len(l.chapters)-1]
	l.mu.Unlock()
	for _, c := range before {
		c.begun.Wait() // no longer than the timeout of a call
	}
}

// end stops calling and returns what became of all calls.
func (l *load) end() []*chapter {
	l.cancel()
	<-l.ended
	for _, c := range l.chapters {
		c.begun.Wait()
	}
	return l.chapters
}

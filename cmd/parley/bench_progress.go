// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// progressEvery is how often the line of progress changes.
const progressEvery = 200 * time.Millisecond

// progress shows on a terminal how a benchmark goes, on one line that it overwrites. Anywhere
// else it is silent.
type progress struct {
	w    io.Writer
	load *load

	once sync.Once
	quit chan struct{}
	done chan struct{}

	mu    sync.Mutex // guards the rest
	name  string
	begin time.Time
}

// startProgress starts the goroutine that shows progress; stop ends it.
func (a *app) startProgress(l *load) *progress {
	p := &progress{w: a.stderr, load: l, quit: make(chan struct{}), done: make(chan struct{}), begin: time.Now()}
	if a.json() || !isTerminal(a.stderr) || a.env("TERM") == "dumb" {
		close(p.done)
		return p
	}
	go p.run()
	return p
}

func (p *progress) run() {
	defer close(p.done)
	ticker := time.NewTicker(progressEvery)
	defer ticker.Stop()
	for {
		select {
		case <-p.quit:
			say(p.w, "\r\x1b[K")
			return
		case <-ticker.C:
			say(p.w, "\r\x1b[K%s", p.line())
		}
	}
}

func (p *progress) line() string {
	p.mu.Lock()
	name, elapsed := p.name, time.Since(p.begin).Seconds()
	p.mu.Unlock()
	done, failed := p.load.done.Load(), p.load.failed.Load()
	text := fmt.Sprintf("%s  %.1f s  %d %s  %.0f %s/s", name, elapsed, done, p.load.noun, float64(done)/max(elapsed, 0.001), p.load.noun)
	if failed > 0 {
		text += fmt.Sprintf("  %d errors", failed)
	}
	return text
}

// phase names what is done from now on.
func (p *progress) phase(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.name, p.begin = name, time.Now()
}

// stop wipes the line and waits for the goroutine. It may be called more than once.
func (p *progress) stop() {
	p.once.Do(func() { close(p.quit) })
	<-p.done
}

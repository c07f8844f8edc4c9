// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"slices"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/parleymq/parley/plugin/driver"
)

const (
	// watchInterval is how often the queues of sent notifications are looked at.
	watchInterval = 5 * time.Minute
	// watchTimeout bounds one look at all of them.
	watchTimeout = time.Minute
	// warnPause is how long a queue that was warned of is not warned of again.
	warnPause = time.Hour
	// maxWatched bounds the queues that are looked at.
	maxWatched = 1000
)

// watch warns of queues that this publisher fills and nobody empties. The broker tells messages and
// consumers with each declaration; later it is asked at a slow pace, over a channel of its own, so
// that publishing does not wait for it.
type watch struct {
	set  *settings
	link *link

	cancel context.CancelFunc // nil until there is something to watch; the writer's
	ended  chan struct{}

	mu     sync.Mutex
	names  []string             // guarded by mu
	warned map[string]time.Time // when a queue was warned of last; guarded by mu
}

func newWatch(set *settings, l *link) *watch {
	return &watch{set: set, link: l, ended: make(chan struct{}), warned: make(map[string]time.Time)}
}

// found notes a queue that was declared. It is called by the writer.
func (w *watch) found(q amqp.Queue) {
	w.mu.Lock()
	if !slices.Contains(w.names, q.Name) && len(w.names) < maxWatched {
		w.names = append(w.names, q.Name)
	}
	w.mu.Unlock()
	w.judge(q.Name, uint64(max(q.Messages, 0)), q.Consumers > 0)
	if w.cancel == nil {
		ctx, cancel := context.WithCancel(context.Background())
		w.cancel = cancel
		go w.run(ctx)
	}
}

// stop ends the goroutine. The writer and the connection have ended before.
func (w *watch) stop() {
	if w.cancel != nil {
		w.cancel()
		<-w.ended
	}
}

func (w *watch) run(ctx context.Context) {
	defer close(w.ended)
	tick := time.NewTicker(w.set.watchInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			w.look(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// look asks for all queues, unless the broker is not to be had: then they are asked for next time.
func (w *watch) look(ctx context.Context) {
	s, trouble, _ := w.link.Trouble()
	if s == nil || trouble != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	w.mu.Lock()
	queues := make([]driver.QueueStatus, len(w.names))
	for i, name := range w.names {
		queues[i].Name = name
	}
	w.mu.Unlock()
	if err := s.inspect(ctx, queues); err != nil {
		w.set.log.Debug("the queues of notifications cannot be looked at", "err", err.Error())
		return
	}
	for _, q := range queues {
		w.judge(q.Name, q.Messages, q.Consumers > 0)
	}
}

// judge warns of a queue that fills up.
func (w *watch) judge(name string, messages uint64, heard bool) {
	if messages == 0 || heard {
		return
	}
	now := time.Now()
	w.mu.Lock()
	last, known := w.warned[name]
	quiet := known && now.Sub(last) < warnPause
	if !quiet {
		w.warned[name] = now
	}
	w.mu.Unlock()
	if quiet {
		return
	}
	w.set.log.Warn("notifications gather in a queue that nobody listens to", "queue", name, "messages", messages,
		"hint", "listen to it, delete it, limit it by "+optNotifyMaxLength+" or "+optNotifyTTL+
			", or do not make it with "+optNotifyDeclare+"=false")
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"sync"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/uplink"
)

// listeners are those of one Conn.
type listeners struct {
	set  *settings
	link *link
	book *replyBook // for the senders of this Conn

	rejected *rejections

	mu     sync.Mutex
	open   map[*listener]struct{} // guarded by mu
	closed bool                   // guarded by mu
}

func newListeners(set *settings, lk *link, book *replyBook) *listeners {
	return &listeners{set: set, link: lk, book: book, rejected: newRejections(), open: make(map[*listener]struct{})}
}

// listen is Conn.Listen.
func (ls *listeners) listen(ctx context.Context, src driver.Source) (driver.Listener, error) {
	l, err := ls.add(src)
	if err != nil {
		return nil, err
	}
	if err := l.awaitOpen(ctx); err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), detachTimeout)
		defer cancel()
		_ = l.Close(ctx) // why it did not open says more
		return nil, err
	}
	return l, nil
}

func (ls *listeners) add(src driver.Source) (*listener, error) {
	if src.Kind == driver.SourceNotifications && src.Pool != "" {
		return nil, driver.Errorf(driver.ReasonUnsupported, "pool %q: this driver has no pools of notification listeners", src.Pool).
			WithHint("listen without a pool, or use a driver with the capability %s, such as rabbit", driver.CapPools)
	}
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.closed {
		return nil, uplink.Closed("connection")
	}
	l := newListener(ls, src)
	ls.open[l] = struct{}{}
	return l, nil
}

func (ls *listeners) forget(l *listener) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	delete(ls.open, l)
}

// close closes the listeners that the core did not close (CLOSE-1), by the end of ctx. It comes
// before link.stop; wait comes after it.
func (ls *listeners) close(ctx context.Context) {
	ls.mu.Lock()
	ls.closed = true
	open := make([]*listener, 0, len(ls.open))
	for l := range ls.open {
		open = append(open, l)
	}
	ls.mu.Unlock()
	var all sync.WaitGroup
	for _, l := range open {
		all.Go(func() { _ = l.Close(ctx) }) // a listener whose peer is silent ends with the connection
	}
	all.Wait()
}

// wait waits for the goroutines of all listeners, after link.stop: nothing holds them then.
func (ls *listeners) wait() {
	ls.mu.Lock()
	open := make([]*listener, 0, len(ls.open))
	for l := range ls.open {
		open = append(open, l)
	}
	ls.mu.Unlock()
	for _, l := range open {
		<-l.ended
		ls.forget(l)
	}
}

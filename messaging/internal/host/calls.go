// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"sync"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// callBook keeps the calls that are under way in one life of a Conn whose reply addresses end with
// it: drivers without driver.CapStableReplies. A nil book keeps nothing.
type callBook struct {
	mu      sync.Mutex
	calls   map[callKey]*bookedCall // guarded by mu
	leaving int                     // calls without a result of their sending; guarded by mu
	sweepAt int                     // how many calls make it look for those nobody waits for; guarded by mu
	sealed  bool                    // another life takes what is new; guarded by mu
	over    bool                    // the life has ended; guarded by mu
	settled chan struct{}           // closed when leaving is zero and the book sealed; guarded by mu
}

type callKey struct{ replyTo, callID string }

// bookedCall is a call without an answer.
type bookedCall struct {
	left  bool      // its driver may have sent it
	until time.Time // when nobody waits for its answer any more; zero is never
}

// firstSweep is the number of calls from which on those that nobody waits for are looked for.
const firstSweep = 1024

func newCallBook(info driver.Info) *callBook {
	if info.Has(driver.CapStableReplies) {
		return nil
	}
	return &callBook{calls: make(map[callKey]*bookedCall), sweepAt: firstSweep, settled: make(chan struct{})}
}

// sent is a batch on its way, with who is to hear of its results.
type sent struct {
	conn  *Conn
	life  *connLife
	batch []*driver.Message
	done  func(int, error)
}

// watch returns the function that is to be told of the results of a batch: done, after the book has
// been told. It reports false when the life takes nothing new.
func (b *callBook) watch(s sent) (func(int, error), bool) {
	if b == nil || !hasCall(s.batch) {
		return s.done, true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sealed {
		return nil, false
	}
	now := time.Now()
	b.sweepLocked(now)
	keys := make([]callKey, len(s.batch))
	for i, m := range s.batch {
		if m.Kind != driver.Call || m.CallID == "" {
			continue
		}
		call := &bookedCall{}
		if m.TimeLeft > 0 {
			call.until = now.Add(m.TimeLeft)
		}
		keys[i] = callKey{m.ReplyTo, m.CallID}
		b.calls[keys[i]] = call
		b.leaving++
	}
	return func(i int, err error) {
		lost := keys[i].callID != "" && b.result(keys[i], err)
		s.done(i, err)
		if lost {
			s.conn.lose(keys[i:i+1], s.life.replyLost(err))
		}
	}, true
}

func hasCall(batch []*driver.Message) bool {
	for _, m := range batch {
		if m.Kind == driver.Call {
			return true
		}
	}
	return false
}

// sweepLocked forgets the calls that nobody waits for any more.
func (b *callBook) sweepLocked(now time.Time) {
	if len(b.calls) < b.sweepAt {
		return
	}
	for key, call := range b.calls {
		if call.left && !call.until.IsZero() && call.until.Before(now) {
			delete(b.calls, key)
		}
	}
	b.sweepAt = max(firstSweep, 2*len(b.calls))
}

// result notes what became of sending a call. It reports true for one that was sent, or may have
// been, in a life that has ended meanwhile.
func (b *callBook) result(key callKey, err error) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.leaving--
	b.settleLocked()
	call := b.calls[key]
	switch {
	case call == nil: // it was answered already
		return false
	case err != nil && !driver.AsError(err).InDoubt, b.over:
		delete(b.calls, key)
		return err == nil || driver.AsError(err).InDoubt
	default:
		call.left = true
		return false
	}
}

func (b *callBook) settleLocked() {
	if b.sealed && b.leaving == 0 {
		select {
		case <-b.settled:
		default:
			close(b.settled)
		}
	}
}

// answered forgets the calls whose answers came, or whose driver said itself that none will.
func (b *callBook) answered(replyTo string, ds []*driver.Delivery) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range ds {
		if d.Kind == driver.Reply {
			delete(b.calls, callKey{replyTo, d.CallID})
		}
	}
}

// seal lets nothing new in, and waits until each call has the result of its sending.
func (b *callBook) seal(ctx context.Context) {
	if b == nil {
		return
	}
	b.mu.Lock()
	b.sealed = true
	b.settleLocked()
	b.mu.Unlock()
	select {
	case <-b.settled:
	case <-ctx.Done():
	}
}

// take removes the calls that were sent with a reply name, or may have been, and returns them.
func (b *callBook) take(replyTo string) []callKey {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.takeLocked(func(key callKey) bool { return key.replyTo == replyTo })
}

// end is the end of the life: it returns all such calls, and sees to those that have no result yet.
func (b *callBook) end() []callKey {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sealed, b.over = true, true
	return b.takeLocked(func(callKey) bool { return true })
}

func (b *callBook) takeLocked(wanted func(callKey) bool) []callKey {
	var keys []callKey
	for key, call := range b.calls {
		if call.left && wanted(key) {
			keys = append(keys, key)
			delete(b.calls, key)
		}
	}
	return keys
}

// replyLost is what is said of a call whose reply address ended with its life, because of the end of
// its process or of err.
func (l *connLife) replyLost(err error) *driver.Error {
	e := &driver.Error{
		Reason: driver.ReasonDriverGone, Retryable: true, InDoubt: true,
		Message: "the address of its reply ended with the driver's connection",
	}
	if cause := l.proc.cause(); cause != nil {
		err = cause
	}
	if err != nil {
		e.Message += ": " + driver.AsError(err).Message
	}
	return e
}

// lose tells the listeners of replies of calls whose answers cannot come.
func (c *Conn) lose(calls []callKey, why *driver.Error) {
	if len(calls) == 0 {
		return
	}
	byName := make(map[string][]*driver.Delivery)
	for _, key := range calls {
		byName[key.replyTo] = append(byName[key.replyTo], &driver.Delivery{
			Message: driver.Message{Kind: driver.Reply, CallID: key.callID}, Lost: why,
		})
	}
	for _, l := range c.allListeners() {
		if l.src.Kind == driver.SourceReplies && byName[l.src.ReplyName] != nil {
			l.tellLost(byName[l.src.ReplyName])
			delete(byName, l.src.ReplyName)
		}
	}
}

// loseRest ends the book of a life in which nothing is under way any more.
func (c *Conn) loseRest(life *connLife) { c.lose(life.calls.end(), life.replyLost(nil)) }

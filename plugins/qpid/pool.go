// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"slices"
	"sync"
	"time"

	amqp "github.com/Azure/go-amqp"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/uplink"
)

const (
	// maxOwn bounds the AMQP sessions that belong to one link, whatever the peer allows: each takes
	// 80 KiB of the library's queues.
	maxOwn = 256
	// maxShared bounds the shared ones of each use.
	maxShared = 8
	// maxSpare bounds the sessions that are kept for the next link.
	maxSpare = 32
	// spareRest is how long a session lies unused before another link gets it: the library may use the
	// number of a link again before it has answered the peer's detach of it.
	spareRest = 200 * time.Millisecond
	// endRest is how long after the end of a session no other one is begun, which might get its channel:
	// Broker-J answers the end of a session before it has forgotten it, and then closes the connection.
	endRest = 100 * time.Millisecond
	// endTimeout is how long the library may take to answer the end of a session.
	endTimeout = time.Second
)

// linkUse is what a link is leased an AMQP session for. Shared sessions carry links of one use only:
// a receiver that is full must not hold back the frames of a sender.
type linkUse int

const (
	forSender linkUse = iota
	forReceiver
	linkUses
)

// pool has the AMQP sessions of a connection. A peer that refuses a link may end its session, so that
// each link has one of its own while there are enough. A session that outlived its link is kept for
// another one.
type pool struct {
	conn  *amqp.Conn
	ends  endWaiter
	host  string
	limit int // how many sessions the peer allows

	// sharing is held, by a token, by who begins a shared session: who waits for it takes that one
	// instead of beginning another.
	sharing chan struct{}

	beginning sync.WaitGroup // the goroutines that begin sessions; they end with the connection

	mu     sync.Mutex
	over   bool                       // the connection has ended; guarded by mu
	used   int                        // sessions that are begun, or may be; guarded by mu
	own    int                        // those of them that belong to one link; guarded by mu
	ended  time.Time                  // when the last one was; guarded by mu
	spares []spareSession             // begun and unused, the oldest first; guarded by mu
	shared [linkUses][]*sharedSession // guarded by mu
}

// endWaiter waits until every end of a session is answered (amqpopen.Conn).
type endWaiter interface{ EndsAnswered(context.Context) error }

// spareSession is a session without a link.
type spareSession struct {
	*amqp.Session
	since time.Time
}

// sharedSession is an AMQP session of several links.
type sharedSession struct {
	session *amqp.Session
	links   int  // guarded by the pool's mu
	ended   bool // by the peer: not leased again; guarded by the pool's mu
}

// lease is an AMQP session for one link.
type lease struct {
	*amqp.Session
	pool   *pool
	shared *sharedSession // nil when it is the link's own
	use    linkUse
	once   sync.Once
}

func newPool(conn *amqp.Conn, ends endWaiter, host string, limit int, first *amqp.Session) *pool {
	return &pool{conn: conn, ends: ends, host: host, limit: limit, sharing: make(chan struct{}, 1), used: 1, spares: []spareSession{{Session: first}}}
}

// sharedRoom is how many shared sessions each use may have, and mixed whether there is so little room
// that both uses share one.
func (p *pool) sharedRoom() (n int, mixed bool) {
	if p.limit < int(linkUses) {
		return 1, true
	}
	return min(maxShared, max(1, p.limit/8)), false
}

// ownRoom is how many sessions may belong to one link.
func (p *pool) ownRoom() int {
	n, _ := p.sharedRoom()
	return max(0, min(maxOwn, p.limit-n*int(linkUses)))
}

// lease gives an AMQP session for one link: one of its own while the peer's channel-max allows, else
// a shared one. The error is a *driver.Error.
func (s *session) lease(ctx context.Context, use linkUse) (*lease, error) {
	return s.pool.lease(ctx, use)
}

func (p *pool) lease(ctx context.Context, use linkUse) (*lease, error) {
	p.mu.Lock()
	if p.own >= p.ownRoom() {
		p.mu.Unlock()
		return p.leaseShared(ctx, use)
	}
	p.own++
	spare := p.takeSpare()
	if spare == nil {
		p.used++
	}
	p.mu.Unlock()
	if spare != nil {
		return &lease{Session: spare, pool: p, use: use}, nil
	}
	begun, err := p.begin(ctx, true)
	if err != nil {
		return nil, err
	}
	return &lease{Session: begun, pool: p, use: use}, nil
}

// takeSpare returns the session that lay unused for longest, or nil while it is better to begin one. It
// is called with mu held.
func (p *pool) takeSpare() *amqp.Session {
	if len(p.spares) == 0 || time.Since(p.spares[0].since) < spareRest && p.used < p.limit {
		return nil
	}
	spare := p.spares[0].Session
	p.spares = slices.Delete(p.spares, 0, 1)
	return spare
}

// keep makes a session that belonged to one link a spare one, and reports false when it is to be ended:
// when there are enough, or the peer did not say how its link ended.
func (p *pool) keep(l *lease, why error) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !detached(why) || len(p.spares) >= maxSpare {
		return false
	}
	p.own--
	p.spares = append(p.spares, spareSession{l.Session, time.Now()})
	return true
}

// begin begins a session that is counted already. When that fails the peer may have begun it all the
// same, so that it stays counted.
//
// The library is not told when ctx ends: it would end the session without regard to whether it was
// begun, and Broker-J closes the connection over a frame of a session that was not. A session that comes
// when nobody waits for it any more is a spare one; own says that it was to belong to one link.
func (p *pool) begin(ctx context.Context, own bool) (*amqp.Session, error) {
	answered, cancel := context.WithTimeout(ctx, endTimeout)
	defer cancel()
	// Without an answer the channel may be safe all the same: the library takes the lowest that is free.
	_ = p.ends.EndsAnswered(answered)
	p.mu.Lock()
	rest := endRest - time.Since(p.ended)
	p.mu.Unlock()
	if rest > 0 && !uplink.Sleep(ctx, rest) {
		p.notBegun(own)
		return nil, linkError("begin a session with "+p.host, ctx.Err())
	}
	type result struct {
		session *amqp.Session
		err     error
	}
	begun := make(chan result)
	if !p.spawn(func() {
		s, err := p.conn.NewSession(context.Background(), nil) // ends with the connection
		select {
		case begun <- result{s, err}:
		case <-ctx.Done():
			p.adopt(s, own)
		}
	}) {
		return nil, driver.Errorf(driver.ReasonNotConnected, "begin a session with %s: the connection was lost", p.host)
	}
	var r result
	select {
	case r = <-begun:
	case <-ctx.Done():
		r.err = ctx.Err()
	}
	if r.err != nil {
		return nil, linkError("begin a session with "+p.host, r.err)
	}
	return r.session, nil
}

// notBegun takes off the count a session that was not asked for.
func (p *pool) notBegun(own bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.used--
	if own {
		p.own--
	}
}

// adopt makes a new session a spare one, the first to be taken: no link of it has to rest. It is nil when
// it was not begun, which is the end of the connection.
func (p *pool) adopt(s *amqp.Session, own bool) {
	if s == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if own {
		p.own--
	}
	p.spares = slices.Insert(p.spares, 0, spareSession{Session: s})
}

// spawn runs f on a goroutine that wait waits for, and reports false after the end of the connection.
func (p *pool) spawn(f func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.over {
		p.beginning.Go(f)
	}
	return !p.over
}

// wait waits until nothing is begun any more, after the end of the connection.
func (p *pool) wait() {
	p.mu.Lock()
	p.over = true
	p.mu.Unlock()
	p.beginning.Wait()
}

// leaseShared shares a new session while there is room, then the one with the fewest links.
func (p *pool) leaseShared(ctx context.Context, use linkUse) (*lease, error) {
	select {
	case p.sharing <- struct{}{}:
		defer func() { <-p.sharing }()
	case <-ctx.Done():
		return nil, linkError("begin a session with "+p.host, ctx.Err())
	}
	most, mixed := p.sharedRoom()
	if mixed {
		use = forSender
	}
	p.mu.Lock()
	p.shared[use] = slices.DeleteFunc(p.shared[use], func(s *sharedSession) bool { return s.ended })
	if len(p.shared[use]) >= most {
		defer p.mu.Unlock()
		return p.joinLocked(use)
	}
	spare := p.takeSpare()
	if spare == nil && p.used >= p.limit {
		defer p.mu.Unlock()
		return p.joinLocked(use)
	}
	if spare == nil {
		p.used++
	}
	p.mu.Unlock()
	if spare == nil {
		begun, err := p.begin(ctx, false)
		if err != nil {
			return nil, err
		}
		spare = begun
	}
	s := &sharedSession{session: spare, links: 1}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shared[use] = append(p.shared[use], s)
	return &lease{Session: s.session, pool: p, shared: s, use: use}, nil
}

// joinLocked adds a link to a shared session.
func (p *pool) joinLocked(use linkUse) (*lease, error) {
	if len(p.shared[use]) == 0 {
		return nil, fullError(p.host, p.limit)
	}
	s := slices.MinFunc(p.shared[use], func(a, b *sharedSession) int { return a.links - b.links })
	s.links++
	return &lease{Session: s.session, pool: p, shared: s, use: use}, nil
}

// release gives the session back when its link is closed. One that is not wanted any more is closed by
// the end of ctx. why is the error that the link ended with, nil when it was closed in order: a session
// that the peer has ended is not leased again.
func (l *lease) release(ctx context.Context, why error) {
	l.once.Do(func() { l.pool.release(ctx, l, why) })
}

func (p *pool) release(ctx context.Context, l *lease, why error) {
	ended := sessionLost(why)
	if l.shared != nil && !p.leave(l, ended) || l.shared == nil && p.keep(l, why) {
		return
	}
	err := l.Close(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.shared == nil {
		p.own--
	}
	p.closedLocked(ctx, err)
}

// closedLocked counts a session that was closed, with err.
func (p *pool) closedLocked(ctx context.Context, err error) {
	p.ended = time.Now()
	// Without the peer's answer its channel is not free.
	if err == nil || sessionLost(err) && ctx.Err() == nil {
		p.used--
	}
}

// ping begins a session and ends it, which asks the peer and changes nothing. Where there is no room for
// one more it asks nothing.
func (p *pool) ping(ctx context.Context) error {
	p.mu.Lock()
	full := p.used >= p.limit
	if !full {
		p.used++
	}
	p.mu.Unlock()
	if full {
		return nil
	}
	begun, err := p.begin(ctx, false)
	if err != nil {
		return err
	}
	bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), byeTimeout)
	defer cancel()
	err = begun.Close(bye)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closedLocked(bye, err)
	return nil
}

// leave takes a link off its shared session, and reports whether it was the last. Who is the last of
// one that still works leaves it to the next.
func (p *pool) leave(l *lease, ended bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := l.shared
	s.links--
	s.ended = s.ended || ended
	if s.links > 0 || !s.ended {
		return false
	}
	p.shared[l.use] = slices.DeleteFunc(p.shared[l.use], func(other *sharedSession) bool { return other == s })
	return true
}

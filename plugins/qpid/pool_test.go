// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/Azure/go-amqp"

	"github.com/parleymq/parley/internal/peertest"
)

// TestLeases: sessions of their own while there is room, shared ones beyond, and never more than the
// peer allows, which would end the connection.
func TestLeases(t *testing.T) {
	t.Parallel()
	const limit = 16
	b := peertest.RunBrokerJ(t, &peertest.BrokerJOptions{MaxSessions: limit})
	w := watch(t, nil, hostAt(t, b.Addr(), "", ""))
	s := connected(t, w.link)
	if s.pool.limit != limit || s.pool.ownRoom() != limit-4 {
		t.Fatalf("limit %d, own %d", s.pool.limit, s.pool.ownRoom())
	}
	for round := range 3 {
		var mu sync.Mutex
		var all []*lease
		var running sync.WaitGroup
		for n := range 5 * limit {
			running.Go(func() {
				use := linkUse(n % 2)
				l, err := s.lease(soon(t), use)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				all = append(all, l)
				mu.Unlock()
				if use == forSender {
					_, err = l.NewSender(soon(t), "unicast.leases.a", nil)
				} else {
					_, err = l.NewReceiver(soon(t), "unicast.leases.a", &amqp.ReceiverOptions{Credit: -1})
				}
				if err != nil {
					t.Errorf("use %d: %v", use, err)
				}
			})
		}
		running.Wait()
		uses := map[*amqp.Session]linkUse{}
		for _, l := range all {
			if use, ok := uses[l.Session]; ok && use != l.use {
				t.Error("senders and receivers share a session")
			}
			uses[l.Session] = l.use
		}
		if len(all) != 5*limit || len(uses) != limit {
			t.Fatalf("round %d: %d leases of %d sessions", round, len(all), len(uses))
		}
		// Shared ones stay, with their links, as they do where links end by an error.
		for _, l := range all {
			l.release(soon(t), nil)
			l.release(soon(t), nil) // again, which does nothing
		}
		if s.pool.own != 0 || s.pool.used != limit || len(s.pool.spares) != limit-4 {
			t.Fatalf("round %d: %d own, %d used, %d spare after the end", round, s.pool.own, s.pool.used, len(s.pool.spares))
		}
	}
	select {
	case <-s.done:
		t.Error("the connection is lost")
	default:
	}
}

// TestRefusedLinks: Broker-J closes the connection when a channel is begun again right behind its end,
// which links that it refuses one after the other must not do to the others.
func TestRefusedLinks(t *testing.T) {
	t.Parallel()
	w := watch(t, nil, hostAt(t, shared.bare.use(t), "", ""))
	s := connected(t, w.link)
	var running sync.WaitGroup
	for range 8 {
		running.Go(func() {
			for range 40 {
				l, err := s.lease(soon(t), forSender)
				if err != nil {
					t.Error(err)
					return
				}
				_, err = l.NewSender(soon(t), "unicast.nobody.made.it", nil)
				if e, ok := errors.AsType[*amqp.Error](err); !ok || e.Condition != amqp.ErrCondNotFound {
					t.Errorf("got %v", err)
				}
				l.release(soon(t), err)
			}
		})
	}
	running.Wait()
	select {
	case <-s.done:
		t.Error("the connection is lost")
	default:
	}
	if used := s.pool.used; used > maxSpare {
		t.Errorf("%d sessions are left", used)
	}
}

// TestLeasesGivenUp: who gives up while a session is begun does no harm to the connection, and the session
// is for another link. Broker-J closes the connection over the end of a session that was not begun.
func TestLeasesGivenUp(t *testing.T) {
	t.Parallel()
	w := watch(t, nil, hostAt(t, shared.bare.use(t), "", ""))
	s := connected(t, w.link)
	var running sync.WaitGroup
	var given atomic.Int64
	for range 8 {
		running.Go(func() {
			for n := range 25 {
				ctx, cancel := context.WithTimeout(soon(t), time.Duration(n%5)*200*time.Microsecond)
				l, err := s.lease(ctx, forSender)
				cancel()
				if err != nil {
					given.Add(1)
					continue
				}
				bye, cancel := context.WithTimeout(soon(t), 10*time.Second)
				l.release(bye, errors.New("its link was not detached"))
				cancel()
			}
		})
	}
	running.Wait()
	l, err := s.lease(soon(t), forSender)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.NewSender(soon(t), "unicast.nobody.made.it", nil); condition(err) != amqp.ErrCondNotFound {
		t.Errorf("got %v", err)
	}
	l.release(soon(t), err)
	select {
	case <-s.done:
		t.Error("the connection is lost")
	default:
	}
	if given.Load() == 0 {
		t.Error("nobody gave up: the test proves nothing")
	}
	eventually(t, "all is counted", func() bool {
		s.pool.mu.Lock()
		defer s.pool.mu.Unlock()
		return s.pool.own == 0 && s.pool.used == len(s.pool.spares)
	})
}

// TestOneSession: a peer that allows one session has both uses on it.
func TestOneSession(t *testing.T) {
	t.Parallel()
	b := peertest.RunBrokerJ(t, &peertest.BrokerJOptions{MaxSessions: 1})
	w := watch(t, nil, hostAt(t, b.Addr(), "", ""))
	s := connected(t, w.link)
	var first *amqp.Session
	for n := range 4 {
		l, err := s.lease(soon(t), linkUse(n%2))
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = l.Session
		}
		if l.Session != first {
			t.Error("there is another session")
		}
	}
}

// TestEndedSession: a shared session that the peer ended is left by all, and not leased again.
func TestEndedSession(t *testing.T) {
	t.Parallel()
	b := peertest.RunBrokerJ(t, &peertest.BrokerJOptions{MaxSessions: 4})
	w := watch(t, nil, hostAt(t, b.Addr(), "", ""))
	s := connected(t, w.link)
	var all []*lease
	for range 5 { // two own ones, and a shared one of three links
		l, err := s.lease(soon(t), forSender)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, l)
	}
	shared := all[4]
	if shared.shared == nil || shared.Session != all[3].Session || all[0].shared != nil {
		t.Fatal("there is no shared session")
	}
	// As a peer does it: the library says the same of one that we ended.
	if err := shared.Close(soon(t)); err != nil {
		t.Fatal(err)
	}
	_, err := shared.NewSender(soon(t), "unicast.ended.a", nil)
	if !sessionLost(err) || connectionLost(err) {
		t.Fatalf("a link on a session that ended: %v", err)
	}
	shared.release(soon(t), err)
	next, err := s.lease(soon(t), forSender)
	if err == nil && next.Session == shared.Session {
		t.Error("it is leased again")
	}
	for _, l := range all[2:4] {
		l.release(soon(t), err)
	}
	if next == nil {
		if next, err = s.lease(soon(t), forSender); err != nil {
			t.Fatal(err)
		}
	}
	if _, err = next.NewSender(soon(t), "unicast.ended.a", nil); err != nil {
		t.Errorf("a link on the next one: %v", err)
	}
	if _, err = all[0].NewSender(soon(t), "unicast.ended.a", nil); err != nil {
		t.Errorf("a link on another: %v", err)
	}
	if s.pool.used > 4 {
		t.Errorf("%d are in use", s.pool.used)
	}
}

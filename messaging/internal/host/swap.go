// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// moveTimeout bounds how long a connection may take to be ready in the process that is to take
// over.
const moveTimeout = 10 * time.Second

// swap replaces p by a process of the file that is found now. Everything that p does is done
// in the new one before p gives anything up, so that a new one that does not work changes
// nothing. It returns the new process, or nil and why p goes on.
func (s *supervisor) swap(ctx context.Context, p *process) (*process, error) {
	began := time.Now()
	q, prog, err := s.launchNext(ctx)
	if err == nil {
		err = s.takeOver(ctx, p, q)
	}
	result := ReloadResult{
		Time: time.Now(), Driver: s.key.driver, Class: s.key.class, From: p.describe(), Took: time.Since(began), OK: err == nil,
	}
	defer func() { s.host.noteReload(result) }()
	if err != nil {
		if q != nil {
			q.stop()
		}
		result.To = result.From
		result.Message = "the process before goes on: " + err.Error()
		s.logger.Error("driver was not reloaded", "pid", p.pid, "err", err.Error())
		s.enter(s.phase(), result.Message, func(*Running) {})
		return nil, err
	}
	result.To = q.describe()
	result.Message = fmt.Sprintf("swapped in %s", result.Took.Round(time.Millisecond))
	s.keep(p, prog)
	s.retiring.Go(func() { s.retire(p) })
	s.logger.Info("driver reloaded", "pid", q.pid, "version", q.peer.Info().Version, "was", p.pid, "took", result.Took)
	return q, nil
}

// launchNext starts the process that is to take over, whatever was rejected before: somebody
// asks for it.
func (s *supervisor) launchNext(ctx context.Context) (*process, program, error) {
	if err := s.mayReplace(); err != nil {
		return nil, program{}, err
	}
	found, err := s.host.search.Find(s.key.driver)
	if err != nil {
		return nil, program{}, err
	}
	prog := program{found: found, id: identify(found.Path)}
	s.noteTried(prog.id)
	q, err := launch(ctx, s, prog)
	return q, prog, err
}

// keep holds the program of p for the first minute of the new one.
func (s *supervisor) keep(p *process, now program) {
	if s.rejected != nil {
		s.rejected.before.close()
		s.rejected = nil
	}
	before, err := p.prog.again()
	if err != nil {
		s.logger.Warn("the program before is not kept, there is no way back to it", "err", err.Error())
		s.endProbation()
		return
	}
	s.beginProbation(before, now)
}

// takeOver makes every connection ready in q, and then makes q the process that is used. An
// error leaves everything in p. When p is gone meanwhile, q takes over what there is.
func (s *supervisor) takeOver(ctx context.Context, p, q *process) error {
	ctx, cancel := context.WithTimeout(ctx, moveTimeout)
	defer cancel()
	moves, err := s.moveAll(ctx, p, q)
	if err != nil && p.cause() == nil {
		abandonMoves(moves)
		return err
	}
	s.ready(q, fmt.Sprintf("process %d took over from %d", q.pid, p.pid))
	commitMoves(moves)
	// What was opened in p meanwhile comes last; what does not get ready in time is opened again
	// when p ends.
	late, err := s.moveAll(ctx, p, q)
	if err != nil {
		s.logger.Warn("a connection did not move in time", "err", err.Error())
	}
	commitMoves(late)
	return nil
}

// moveAll has each connection of p made ready in q, all at once.
func (s *supervisor) moveAll(ctx context.Context, p, q *process) ([]*move, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex // guards moves and first
		moves []*move
		first error
	)
	for _, c := range s.connsIn(p) {
		wg.Go(func() {
			m, err := c.askToMove(ctx, p, q)
			mu.Lock()
			defer mu.Unlock()
			if m != nil {
				moves = append(moves, m)
			}
			if err != nil && first == nil {
				first = err
				cancel()
			}
		})
	}
	wg.Wait()
	return moves, first
}

// connsIn lists the connections whose present life is in p.
func (s *supervisor) connsIn(p *process) []*Conn {
	s.mu.Lock()
	all := make([]*Conn, 0, len(s.conns))
	for c := range s.conns {
		all = append(all, c)
	}
	s.mu.Unlock()
	in := all[:0]
	for _, c := range all {
		if c.isIn(p) {
			in = append(in, c)
		}
	}
	return in
}

func commitMoves(moves []*move) {
	for _, m := range moves {
		m.decide(true)
	}
}

func abandonMoves(moves []*move) {
	for _, m := range moves {
		m.decide(false)
	}
}

// retire lets a process that was swapped out finish what it has, and ends it.
func (s *supervisor) retire(p *process) {
	s.tellRetiring(p, Draining)
	p.awaitEmpty(s.host.opts.DrainTimeout)
	p.stop()
	s.tellRetiring(p, Stopped)
}

// tellRetiring tells of a process that is not the one in use.
func (s *supervisor) tellRetiring(p *process, phase Phase) {
	now := time.Now()
	s.host.tell(Event{Time: now, Message: "it was swapped out", Running: Running{
		Driver: s.key.driver, Class: s.key.class, Phase: phase, Since: now, PID: p.pid,
		Version: p.peer.Info().Version, File: p.file,
	}})
}

func (s *supervisor) phase() Phase {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status.Phase
}

// describe names the process for people.
func (p *process) describe() string {
	return fmt.Sprintf("%s %s (pid %d)", p.file, p.peer.Info().Version, p.pid)
}

// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	pb "github.com/parleymq/parley/plugin/proto"
)

// ErrSilent is returned by Session when the driver did not answer heartbeats: it is stopped,
// deadlocked or starved.
var ErrSilent = errors.New("the driver does not answer heartbeats")

// SessionOptions tune the session. The functions are called by Session's goroutine and must
// not block; each may be nil.
type SessionOptions struct {
	Interval time.Duration // between heartbeats
	Silence  time.Duration // without an answer, until the driver counts as hung

	// Late is told at each heartbeat how long no answer came, from one and a half intervals on,
	// and once 0 when answers come again.
	Late func(silence time.Duration)
	// Paused is asked before a silent driver is given up; true postpones that. A driver in a
	// debugger is silent and not hung.
	Paused func() bool
	// Level is the lowest level of log records that is wanted. It is asked at each heartbeat; the
	// driver is told when it changes.
	Level func() slog.Level
}

// Session holds the session stream until ctx ends, the process ends or the driver falls
// silent. It is the driver's lifeline: a driver whose session ended ends itself.
func (p *Peer) Session(ctx context.Context, o SessionOptions) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := p.client.Session(ctx)
	if err != nil {
		return FromGRPC(err)
	}
	s := &session{peer: p, stream: stream, o: o, level: p.level, began: time.Now()}
	ended := make(chan error, 1)
	go func() { ended <- s.read() }()

	ticker := time.NewTicker(o.Interval)
	defer ticker.Stop()
	for {
		if err := s.beat(); err != nil {
			return <-ended // it says why
		}
		select {
		case err := <-ended:
			return err
		case <-ctx.Done():
			_ = stream.CloseSend() // the driver ends itself on it; a dead stream says so to the reader
			cancel()
			<-ended //nolint:errcheck // it is the end that we asked for
			return ctx.Err()
		case <-ticker.C:
			if err := s.watch(); err != nil {
				cancel()
				<-ended //nolint:errcheck // the cause is the silence
				return err
			}
		}
	}
}

// session is one Session stream on the host's side.
type session struct {
	peer   *Peer
	stream grpc.BidiStreamingClient[pb.SessionHostFrame, pb.SessionDriverFrame]
	o      SessionOptions
	began  time.Time
	heard  atomic.Int64 // when the last frame came, in nanoseconds since began

	ticked   time.Duration // when watch was called last, since began
	pardoned time.Duration // no silence before it counts against the driver, since began

	number uint64     // of the last heartbeat
	level  slog.Level // that the driver knows
	late   bool       // Late was told so
}

// beat sends a heartbeat, with the level of log records if it changed.
func (s *session) beat() error {
	s.number++
	frame := &pb.SessionHostFrame{Epoch: s.peer.epoch, Heartbeat: s.number}
	if s.o.Level != nil {
		if level := s.o.Level(); level != s.level {
			s.level = level
			n := int32(level)
			frame.LogLevel = &n
		}
	}
	return s.stream.Send(frame)
}

// watch judges the silence at a tick.
func (s *session) watch() error {
	now := time.Since(s.began)
	if now-s.ticked > 2*s.o.Interval {
		// This process itself was stopped or starved, and so could not hear the driver.
		s.pardoned = now
	}
	s.ticked = now
	silence := now - time.Duration(s.heard.Load())
	late := silence > s.o.Interval+s.o.Interval/2
	if s.o.Late != nil {
		switch {
		case late:
			s.o.Late(silence)
		case s.late:
			s.o.Late(0)
		}
	}
	s.late = late
	if min(silence, now-s.pardoned) <= s.o.Silence {
		return nil
	}
	if s.o.Paused != nil && s.o.Paused() {
		s.pardoned = now // it gets its time when the debugger has gone
		return nil
	}
	return fmt.Errorf("%w for %v", ErrSilent, silence.Round(time.Millisecond))
}

// read takes the driver's frames until the stream ends.
func (s *session) read() error {
	for {
		frame, err := s.stream.Recv()
		if err != nil {
			return FromGRPC(err)
		}
		if frame.GetEpoch() != s.peer.epoch {
			return protocolError("a session frame of epoch %d came in epoch %d", frame.GetEpoch(), s.peer.epoch)
		}
		s.heard.Store(int64(time.Since(s.began)))
		for _, st := range frame.GetStates() {
			s.peer.report(st)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/parleymq/parley/plugin/driver"
	pb "github.com/parleymq/parley/plugin/proto"
)

// closeTimeout bounds the driver's Close of a listener whose host is gone.
const closeTimeout = 10 * time.Second

// Listen implements the service: it polls the driver as far as the host's credit goes.
func (s *Server) Listen(stream pb.Driver_ListenServer) (err error) {
	defer s.recoverTo("Listen", &err)
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	sc, err := s.useConn(first.GetEpoch(), first.GetConn(), func(sc *serverConn) { sc.listeners.Add(1) })
	if err != nil {
		return ToGRPC(err)
	}
	defer sc.listeners.Done()
	src := sourceFromProto(first.GetSource())
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	defer context.AfterFunc(sc.ctx, cancel)()
	listener, err := sc.conn.Listen(ctx, src)
	if err != nil {
		return ToGRPC(err)
	}
	limits := s.agreed()
	f := &listenFeed{
		server: s, stream: stream, epoch: first.GetEpoch(), listener: listener, closing: sc.ctx.Done(), ended: ctx.Done(),
		settleOnDone: src.Settle == driver.SettleOnDone, replies: src.Kind == driver.SourceReplies,
		tellsLost: s.tellsLost(),
		limits:    limits, wake: make(chan struct{}, 1), pollEnded: make(chan struct{}),
		large: chunkQueue[*polled]{size: limits.chunk(), limit: limits.MaxMessageBytes},
	}
	f.lingers = f.tellsLost && losesReplies(s.info, src)
	defer f.lingering.wg.Wait()
	defer f.closeListener()
	defer func() {
		cancel()
		f.cutters.Wait()
	}()
	if err := stream.Send(&pb.ListenDriverFrame{Epoch: f.epoch, Listening: true}); err != nil {
		return err
	}
	return ToGRPC(f.run(ctx))
}

// listenFeed is one Listen stream on the driver's side.
type listenFeed struct {
	server       *Server
	stream       pb.Driver_ListenServer
	epoch        uint64
	listener     driver.Listener
	closing      <-chan struct{} // closed when the connection is closed
	ended        <-chan struct{} // closed when the stream or the connection is
	settleOnDone bool
	replies      bool // they are of a SourceReplies: large ones may be overtaken
	tellsLost    bool // the host understands lost replies
	lingers      bool // Stop goes on taking until the calls under way are answered
	lingering    lingering
	pollEnded    chan struct{} // closed when poll has returned
	limits       Limits
	wake         chan struct{} // of capacity one: credit came, or large messages are done

	writing sync.Mutex     // held while a frame is made and written; before mu
	cutters sync.WaitGroup // the goroutine that writes chunks, while there are any

	mu      sync.Mutex
	credit  int                 // messages; guarded by mu
	bytes   int                 // may be negative; guarded by mu
	tokens  tokenWindow         // the driver's tokens by ours; guarded by mu
	large   chunkQueue[*polled] // guarded by mu
	cutting bool                // the goroutine that writes chunks runs; guarded by mu
	granted chan struct{}       // closed when chunks need no longer wait for credit, or nil; guarded by mu
	hurry   bool                // chunks wait for no credit; guarded by mu

	mean     int  // running mean of a delivery's size; used by poll alone
	draining bool // what comes goes without regard to bytes; used by poll alone
}

// run polls and reads until the host closes, the stream ends or the driver fails.
func (f *listenFeed) run(ctx context.Context) error {
	pollCtx, stopPolling := context.WithCancel(ctx)
	defer stopPolling()
	polled := make(chan error, 1)
	go func() {
		defer close(f.pollEnded)
		polled <- f.poll(pollCtx)
	}()
	read := make(chan error, 1)
	go func() { read <- f.read(ctx, stopPolling) }()

	select {
	case err := <-polled:
		if err != nil {
			return err // ends the stream, and with it read
		}
		select {
		case err := <-read:
			return eofIsNil(err)
		case <-f.closing:
			return errConnClosed()
		}
	case <-f.closing:
		stopPolling()
		select {
		case <-polled: //nolint:errcheck // the cause is the close
		case <-time.After(closeTimeout): // the end of the stream ends it
		}
		return errConnClosed()
	case err := <-read:
		stopPolling()
		perr := <-polled
		if err = eofIsNil(err); err == nil {
			err = perr
		}
		return err
	}
}

func errConnClosed() error {
	return driver.Errorf(driver.ReasonClosed, "the connection was closed")
}

func eofIsNil(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// read takes credit and outcomes until the host closes.
func (f *listenFeed) read(ctx context.Context, stopPolling func()) error {
	for {
		frame, err := f.stream.Recv()
		if err != nil {
			return err
		}
		if frame.GetEpoch() != f.epoch {
			return protocolError("listener frame of epoch %d came in epoch %d", frame.GetEpoch(), f.epoch)
		}
		if err := f.settle(ctx, frame.GetOutcomes()); err != nil {
			return err
		}
		f.grant(frame)
		lingers := f.lingers && !frame.GetClose()
		if frame.GetClose() || frame.GetStop() && (!lingers || !f.linger(ctx, stopPolling)) {
			stopPolling()
		}
		if frame.GetClose() {
			return nil
		}
	}
}

func (f *listenFeed) grant(frame *pb.ListenHostFrame) {
	f.mu.Lock()
	f.credit = min(f.credit+int(frame.GetCreditMessages()), maxCredit)
	f.bytes = min(f.bytes+int(min(frame.GetCreditBytes(), maxCreditBytes)), maxCreditBytes)
	f.resumeCutLocked()
	f.mu.Unlock()
	notify(f.wake)
}

// What a host can grant at most; more is a mistake that would only overflow.
const (
	maxCredit      = 1 << 20
	maxCreditBytes = 1 << 30
)

// settle translates the host's tokens and tells the driver.
func (f *listenFeed) settle(ctx context.Context, in []*pb.Outcome) error {
	if len(in) == 0 {
		return nil
	}
	var outcomes []driver.Outcome
	room := uint64(maxCredit)
	f.mu.Lock()
	for _, o := range in {
		if o.GetCount() > room {
			f.mu.Unlock()
			return protocolError("more outcomes in a frame than the %d deliveries that can be open", maxCredit)
		}
		room -= o.GetCount()
		if first, next := o.GetToken(), f.tokens.next(); first == 0 || first >= next || o.GetCount() > next-first {
			f.mu.Unlock()
			return protocolError("outcomes of %d deliveries from token %d on, and token %d was never given", o.GetCount(), first, next)
		}
		for n := range o.GetCount() {
			if own, ok := f.tokens.take(o.GetToken() + n); ok {
				outcomes = append(outcomes, driver.Outcome{Token: own, Result: driver.Result(o.GetResult())})
			}
		}
	}
	f.mu.Unlock()
	if len(outcomes) == 0 {
		return nil // settled before (DONE-2)
	}
	return f.listener.Done(ctx, outcomes)
}

func (f *listenFeed) closeListener() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := f.listener.Close(ctx); err != nil {
		f.server.logger.Warn("closing a listener failed", "err", err.Error())
	}
}

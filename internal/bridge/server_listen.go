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
	sc, err := s.conn(first.GetEpoch(), first.GetConn())
	if err != nil {
		return ToGRPC(err)
	}
	src := sourceFromProto(first.GetSource())
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	defer context.AfterFunc(sc.ctx, cancel)()
	listener, err := sc.conn.Listen(ctx, src)
	if err != nil {
		return ToGRPC(err)
	}
	f := &listenFeed{
		server: s, stream: stream, epoch: first.GetEpoch(), listener: listener,
		settleOnDone: src.Settle == driver.SettleOnDone,
		maxFrame:     s.agreed().maxMessage(), wake: make(chan struct{}, 1),
	}
	defer f.closeListener()
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
	settleOnDone bool
	maxFrame     int
	wake         chan struct{} // of capacity one: credit came

	mu     sync.Mutex
	credit int         // messages; guarded by mu
	bytes  int         // may be negative; guarded by mu
	tokens tokenWindow // the driver's tokens by ours; guarded by mu

	mean int // running mean of a delivery's size; used by poll alone
}

// run polls and reads until the host closes, the stream ends or the driver fails.
func (f *listenFeed) run(ctx context.Context) error {
	pollCtx, stopPolling := context.WithCancel(ctx)
	defer stopPolling()
	polled := make(chan error, 1)
	go func() { polled <- f.poll(pollCtx) }()
	read := make(chan error, 1)
	go func() { read <- f.read(ctx, stopPolling) }()

	select {
	case err := <-polled:
		if err != nil {
			return err // ends the stream, and with it read
		}
		return eofIsNil(<-read)
	case err := <-read:
		stopPolling()
		perr := <-polled
		if err = eofIsNil(err); err == nil {
			err = perr
		}
		return err
	}
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
		if frame.GetStop() || frame.GetClose() {
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
		for token := o.GetToken(); token < o.GetToken()+o.GetCount(); token++ {
			if own, ok := f.tokens.take(token); ok {
				outcomes = append(outcomes, driver.Outcome{Token: own, Result: driver.Result(o.GetResult())})
			}
		}
	}
	f.mu.Unlock()
	if len(outcomes) == 0 {
		return nil // settled before, or never delivered (DONE-2)
	}
	return f.listener.Done(ctx, outcomes)
}

// poll asks the driver for messages while there is credit, until its context ends, and tells
// the host that it stopped.
func (f *listenFeed) poll(ctx context.Context) (err error) {
	defer func() { // on a goroutine of our own: nobody else would recover it
		var bug error
		f.server.recoverTo("Poll", &bug)
		if bug != nil {
			err = FromGRPC(bug)
		}
	}()
	for {
		max := f.awaitCredit(ctx)
		if max == 0 {
			return f.stopped(ctx)
		}
		ds, err := f.listener.Poll(ctx, max)
		if len(ds) > 0 {
			if len(ds) > max {
				return driver.Errorf(driver.ReasonDriverBug, "driver returned %d messages where %d were asked for (POLL-1)", len(ds), max)
			}
			if err := f.send(ctx, ds); err != nil {
				return err
			}
		}
		if err != nil {
			if ctx.Err() != nil {
				return f.stopped(ctx)
			}
			return err
		}
	}
}

// awaitCredit returns how many messages may come next. Bytes left are turned into messages
// by the mean size of those before. It returns 0 when ctx ended.
func (f *listenFeed) awaitCredit(ctx context.Context) int {
	if ctx.Err() != nil {
		return 0
	}
	for {
		f.mu.Lock()
		credit, bytes := f.credit, f.bytes
		f.mu.Unlock()
		if credit > 0 && bytes > 0 {
			if f.mean > 0 {
				credit = min(credit, max(1, bytes/f.mean))
			}
			return credit
		}
		select {
		case <-f.wake:
		case <-ctx.Done():
			return 0
		}
	}
}

// send writes deliveries in as many frames as the limit asks for.
func (f *listenFeed) send(ctx context.Context, ds []*driver.Delivery) error {
	polled := time.Now()
	frame, bytes := &pb.ListenDriverFrame{Epoch: f.epoch}, 0
	flush := func() error {
		if len(frame.Deliveries) == 0 {
			return nil
		}
		err := f.stream.Send(frame)
		frame, bytes = &pb.ListenDriverFrame{Epoch: f.epoch}, 0
		return err
	}
	total := 0
	for _, d := range ds {
		f.limitHeaders(d)
		size := d.Size()
		total += size
		if err := f.checkDelivery(d, size); err != nil {
			f.refuse(ctx, d, err)
			continue
		}
		if bytes+size > f.maxFrame || bytes+size > batchBytes && bytes > 0 {
			if err := flush(); err != nil {
				return err
			}
		}
		frame.Deliveries = append(frame.Deliveries, f.toProto(d, size, polled))
		bytes += size
	}
	f.mean = (3*f.mean + total/len(ds)) / 4
	return flush()
}

// limitHeaders leaves headers behind that must not cross. They are no reason to refuse the
// message.
func (f *listenFeed) limitHeaders(d *driver.Delivery) {
	if err := driver.CheckHeaders(d.Headers); err != nil {
		f.server.logger.Debug("message handed over without its headers", "unique_id", d.UniqueID, "err", err.Error())
		d.Headers = nil
	}
}

func (f *listenFeed) checkDelivery(d *driver.Delivery, size int) error {
	if size > f.maxFrame {
		return driver.Errorf(driver.ReasonMessageTooLarge, "a message of %d bytes is above the frame limit of %d", size, f.maxFrame)
	}
	return checkText(&d.Message)
}

// refuse drops a delivery that cannot cross, so that it does not come again for ever.
func (f *listenFeed) refuse(ctx context.Context, d *driver.Delivery, cause error) {
	f.server.logger.Error("message dropped: it cannot be handed to the application",
		"kind", d.Kind.String(), "unique_id", d.UniqueID, "err", cause.Error())
	if !f.settleOnDone {
		return
	}
	if err := f.listener.Done(ctx, []driver.Outcome{{Token: d.Token, Result: driver.Rejected}}); err != nil {
		f.server.logger.Error("rejecting a message failed", "err", err.Error())
	}
}

// toProto converts a delivery that Poll returned at the time polled: those before it in the
// batch may have waited for the stream.
func (f *listenFeed) toProto(d *driver.Delivery, size int, polled time.Time) *pb.Delivery {
	p := &pb.Delivery{Message: new(pb.Message), Redelivered: d.Redelivered}
	if d.TimeLeft != 0 {
		d.Waited(time.Since(polled))
	}
	messageToProto(p.Message, &d.Message, d.TimeLeft)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.credit--
	f.bytes -= size
	if f.settleOnDone {
		p.Token = f.tokens.push(d.Token)
	}
	return p
}

// stopped tells the host that no delivery comes any more. With SettleOnPoll the driver may
// hold messages that it acknowledged already: they are sent first, credit or not is no
// question any more, for they are within what was granted.
func (f *listenFeed) stopped(ctx context.Context) error {
	select {
	case <-f.stream.Context().Done():
		return nil // the host is gone: there is nobody to tell
	default:
	}
	if err := f.drain(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	return f.stream.Send(&pb.ListenDriverFrame{Epoch: f.epoch, Stopped: true})
}

// drain takes what a driver with the ability Stop acknowledged and did not return.
func (f *listenFeed) drain(ctx context.Context) error {
	stopper, ok := f.listener.(driver.Stopper)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	if err := stopper.Stop(ctx); err != nil {
		return err
	}
	for {
		f.mu.Lock()
		credit := f.credit
		f.mu.Unlock()
		if credit <= 0 {
			return nil
		}
		ds, err := f.listener.Poll(ctx, credit)
		if len(ds) > 0 {
			if serr := f.send(ctx, ds); serr != nil {
				return serr
			}
		}
		if err != nil {
			if driver.ReasonOf(err) == driver.ReasonClosed {
				return nil
			}
			return err
		}
	}
}

func (f *listenFeed) closeListener() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := f.listener.Close(ctx); err != nil {
		f.server.logger.Warn("closing a listener failed", "err", err.Error())
	}
}

// tokenWindow maps our tokens, which count from 1 so that settlements travel as runs, to the
// driver's.
type tokenWindow struct {
	base  uint64 // the token of items[0]; 0 before the first
	items []tokenSlot
}

type tokenSlot struct {
	token uint64
	open  bool
}

func (w *tokenWindow) push(token uint64) uint64 {
	if w.base == 0 {
		w.base = 1
	}
	w.items = append(w.items, tokenSlot{token: token, open: true})
	return w.base + uint64(len(w.items)) - 1
}

// take returns the driver's token, once.
func (w *tokenWindow) take(own uint64) (uint64, bool) {
	if w.base == 0 || own < w.base || own-w.base >= uint64(len(w.items)) || !w.items[own-w.base].open {
		return 0, false
	}
	slot := &w.items[own-w.base]
	slot.open = false
	token := slot.token
	n := 0
	for n < len(w.items) && !w.items[n].open {
		n++
	}
	w.base += uint64(n)
	if n == len(w.items) {
		w.items = w.items[:0]
	} else {
		w.items = w.items[n:]
	}
	return token, true
}

// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"context"
	"errors"
	"io"
	"math"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/parleymq/parley/plugin/driver"
	pb "github.com/parleymq/parley/plugin/proto"
)

// listenStream is the host's end of a Listen stream.
type listenStream = grpc.BidiStreamingClient[pb.ListenHostFrame, pb.ListenDriverFrame]

// Listener is a driver's listener seen from the host. One goroutine reads deliveries, bounded
// by the credit that Poll granted; one writes credit and outcomes.
type Listener struct {
	stream listenStream
	cancel context.CancelFunc
	epoch  uint64
	// giveBack: what was not returned when Stop is called goes back to the broker.
	giveBack bool
	// atMostOnce: of what is given back, only the application can say whether it was run.
	atMostOnce bool
	// replies: it is of a SourceReplies. lingers: Stop goes on taking until the calls under way are
	// answered (LOST-3).
	replies, lingers bool
	limits           Limits
	// partials are deliveries that come in chunks; used by readLoop alone.
	partials partials
	// born is what TimeLeft counts from while a delivery is buffered, see park.
	born time.Time

	wake  chan struct{} // of capacity one: the writer has something to do
	ready chan struct{} // of capacity one: Poll has something to look at
	ended chan struct{} // closed when the reader has ended
	loops sync.WaitGroup

	stopped chan struct{} // closed when no more deliveries come

	// inReceiver is held while a receiver is called or changed. It is taken before mu.
	inReceiver sync.Mutex

	mu            sync.Mutex
	buffered      []*driver.Delivery       // received, not returned by Poll; guarded by mu
	bufferedBytes int                      // their sizes; guarded by mu
	credit        int                      // messages granted and not used; guarded by mu
	bytes         int                      // bytes granted and not used, may be negative; guarded by mu
	newCredit     int                      // granted and not written yet; guarded by mu
	newBytes      int                      // granted and not written yet; guarded by mu
	outcomes      []*pb.Outcome            // not written yet; guarded by mu
	lastToken     uint64                   // the highest delivered; guarded by mu
	late          lateness                 // of outcomes; guarded by mu
	max           int                      // of the last Poll; guarded by mu
	receiver      func([]*driver.Delivery) // of Receive; guarded by mu
	held          int                      // deliveries the receiver has not released; guarded by mu
	stopping      bool                     // Stop or Close was called; guarded by mu
	stopSent      bool                     // the driver was told to stop; guarded by mu
	hurry         bool                     // there is no more time for what lingers; guarded by mu
	hurrySent     bool                     // the driver was told so; guarded by mu
	closing       bool                     // Close was called; guarded by mu
	wasStopped    bool                     // stopped is closed; guarded by mu
	failed        error                    // why no more comes, after buffered; guarded by mu
}

var (
	_ driver.Listener = (*Listener)(nil)
	_ driver.Stopper  = (*Listener)(nil)
	_ driver.Receiver = (*Listener)(nil)
)

// openListener opens the stream and waits until the broker listens, or ctx ends.
func openListener(ctx context.Context, c *Conn, src driver.Source) (*Listener, error) {
	streamCtx, cancel := context.WithCancel(c.sender.stream.Context())
	stop := context.AfterFunc(ctx, cancel) // only until the stream is up
	l, err := dialListener(streamCtx, c, src)
	if err == nil && !stop() {
		err = ctx.Err()
	}
	if err != nil {
		stop()
		cancel()
		if cerr := ctx.Err(); cerr != nil {
			return nil, cerr
		}
		return nil, err
	}
	l.cancel = cancel
	l.loops.Add(2)
	go l.readLoop()
	go l.writeLoop()
	return l, nil
}

func dialListener(ctx context.Context, c *Conn, src driver.Source) (*Listener, error) {
	stream, err := c.peer.client.Listen(ctx)
	if err != nil {
		return nil, FromGRPC(err)
	}
	first := &pb.ListenHostFrame{Epoch: c.peer.epoch, Conn: c.id, Source: sourceToProto(src)}
	if err := stream.Send(first); err != nil {
		_, err = stream.Recv() // the status says why
		return nil, FromGRPC(err)
	}
	frame, err := stream.Recv()
	if err != nil {
		return nil, FromGRPC(err)
	}
	if frame.GetEpoch() != c.peer.epoch || !frame.GetListening() {
		return nil, protocolError("the first frame of a listener is not its greeting")
	}
	lingers := losesReplies(c.peer.info, src)
	return &Listener{
		stream: stream, epoch: c.peer.epoch, born: time.Now(), limits: c.peer.limits,
		partials: partials{limit: c.peer.limits.MaxMessageBytes},
		giveBack: src.Settle == driver.SettleOnDone && c.peer.info.Has(driver.CapRequeue) && !lingers,
		replies:  src.Kind == driver.SourceReplies, lingers: lingers,
		wake: make(chan struct{}, 1), ready: make(chan struct{}, 1), ended: make(chan struct{}),
		stopped: make(chan struct{}), atMostOnce: src.AtMostOnce,
	}, nil
}

// Poll implements driver.Listener.
func (l *Listener) Poll(ctx context.Context, limit int) ([]*driver.Delivery, error) {
	for {
		ds, err := l.take(limit)
		if ds != nil || err != nil {
			return ds, err
		}
		select {
		case <-l.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Receive implements driver.Receiver: the goroutine that reads the stream calls f.
func (l *Listener) Receive(ctx context.Context, limit int, f func([]*driver.Delivery)) error {
	l.inReceiver.Lock()
	l.mu.Lock()
	l.max = limit
	l.receiver = f
	l.grantLocked(limit - l.held)
	l.mu.Unlock()
	l.hand() // what came before
	l.inReceiver.Unlock()
	defer func() { // f is not called any more when we return
		l.inReceiver.Lock()
		defer l.inReceiver.Unlock()
		l.mu.Lock()
		defer l.mu.Unlock()
		l.receiver = nil
	}()
	for {
		l.mu.Lock()
		err := l.failed
		l.mu.Unlock()
		if err != nil {
			return err
		}
		select {
		case <-l.ready:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// hand gives what is buffered to the receiver. inReceiver must be held.
func (l *Listener) hand() {
	l.mu.Lock()
	f, ds := l.receiver, l.buffered
	if f == nil || len(ds) == 0 {
		l.mu.Unlock()
		return
	}
	l.buffered, l.bufferedBytes = nil, 0
	l.held += len(ds)
	l.grantLocked(l.max - l.held)
	l.mu.Unlock()
	l.unpark(ds)
	f(ds)
}

// Owe makes n deliveries of an earlier listener count as if they were this one's: its receiver
// still has them, and their Release comes here. It is called before Receive.
func (l *Listener) Owe(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held += n
}

// Release implements driver.Receiver.
func (l *Listener) Release(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = max(0, l.held-n)
	if l.receiver != nil {
		l.grantLocked(l.max - l.held)
	}
}

// take returns what is buffered, or grants credit for what Poll wants.
func (l *Listener) take(max int) ([]*driver.Delivery, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.max = max
	n := min(max, len(l.buffered))
	if n == 0 {
		if l.failed != nil {
			return nil, l.failed
		}
		l.grantLocked(max)
		return nil, nil
	}
	ds := slices.Clone(l.buffered[:n])
	for _, d := range ds {
		l.bufferedBytes -= sizeOf(d)
	}
	l.unpark(ds)
	l.buffered = slices.Delete(l.buffered, 0, n)
	// What was taken is about to be worked on: ask for no more than max in all.
	l.grantLocked(max - n)
	return ds, nil
}

// grantLocked raises the credit so that at most max messages are under way. Small additions
// wait until half of it is used, so that a busy listener is not answered message by message.
func (l *Listener) grantLocked(max int) {
	if l.stopping && !l.lingers || l.closing || l.failed != nil {
		return
	}
	if want := max - l.credit - len(l.buffered); want > 0 && l.credit <= max/2 {
		l.credit += want
		l.newCredit += want
	}
	if want := listenWindowBytes - l.bytes - l.bufferedBytes; want >= listenWindowBytes/2 {
		l.bytes += want
		l.newBytes += want
	}
	if l.newCredit > 0 || l.newBytes > 0 {
		notify(l.wake)
	}
}

// notify wakes the one reader of a channel of capacity one.
func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Done implements driver.Listener. Outcomes are written behind; the broker gives again what
// it did not hear of (DONE-2).
func (l *Listener) Done(_ context.Context, outcomes []driver.Outcome) error {
	l.mu.Lock()
	canWait := !l.stopping
	for _, o := range outcomes {
		l.addOutcomeLocked(o)
		// As long as it is little beside what may be open at the broker, nobody waits for it.
		canWait = canWait && o.Result == driver.Accepted && l.late.wait(min(l.max/4, maxLateResults), l.wake)
	}
	l.mu.Unlock()
	if !canWait {
		notify(l.wake)
	}
	return nil
}

// addOutcomeLocked extends the last run or starts one.
func (l *Listener) addOutcomeLocked(o driver.Outcome) {
	if o.Token == 0 || o.Token > l.lastToken {
		return // never delivered (DONE-2); the driver would end the stream
	}
	if n := len(l.outcomes); n > 0 {
		last := l.outcomes[n-1]
		if last.Result == uint32(o.Result) && last.Token+last.Count == o.Token {
			last.Count++
			return
		}
	}
	l.outcomes = append(l.outcomes, &pb.Outcome{Token: o.Token, Count: 1, Result: uint32(o.Result)})
}

// park and unpark take the time that a delivery is buffered off its TimeLeft: in between it
// counts from born.
func (l *Listener) park(d *driver.Delivery) {
	if d.TimeLeft != 0 {
		d.Waited(-time.Since(l.born))
	}
}

func (l *Listener) unpark(ds []*driver.Delivery) {
	for _, d := range ds {
		if d.TimeLeft != 0 {
			d.Waited(time.Since(l.born))
		}
	}
}

// Stop implements driver.Stopper: the driver ends the stream after the last delivery. With
// SettleOnDone the stream stays for outcomes, and what Poll has not returned goes back to the
// broker. Replies to an address that may end are taken on until the driver has stopped (LOST-3); at
// the end of ctx a second word ends its patience.
func (l *Listener) Stop(ctx context.Context) error {
	l.mu.Lock()
	l.stopping = true
	l.giveBackLocked()
	l.mu.Unlock()
	notify(l.wake)
	select {
	case <-l.stopped:
		return nil
	case <-ctx.Done():
	}
	if l.lingers {
		l.mu.Lock()
		l.hurry = true
		l.mu.Unlock()
		notify(l.wake)
	}
	return ctx.Err()
}

// giveBackLocked returns what is buffered to the broker, where others may want it while this
// listener is drained. What was delivered before, and is to be run once, is left to Poll: its owner
// may have run it.
func (l *Listener) giveBackLocked() {
	if !l.giveBack || !l.stopping || l.receiver != nil {
		return
	}
	var kept []*driver.Delivery
	l.bufferedBytes = 0
	for _, d := range l.buffered {
		if l.atMostOnce && d.Redelivered || d.Lost != nil {
			kept = append(kept, d)
			l.bufferedBytes += sizeOf(d)
			continue
		}
		l.addOutcomeLocked(driver.Outcome{Token: d.Token, Result: driver.Requeued})
	}
	l.buffered = kept
	if len(l.outcomes) > 0 {
		notify(l.wake)
	}
}

// Close implements driver.Listener.
func (l *Listener) Close(ctx context.Context) error {
	l.mu.Lock()
	l.stopping, l.closing = true, true
	l.mu.Unlock()
	notify(l.wake)
	var err error
	select {
	case <-l.ended:
	case <-ctx.Done():
		err = ctx.Err()
	}
	l.Abandon()
	return err
}

// Abandon ends the stream at once; it returns when its goroutines have ended.
func (l *Listener) Abandon() {
	l.cancel()
	l.loops.Wait()
}

// writeLoop writes credit and outcomes, and at last the wish to close.
func (l *Listener) writeLoop() {
	defer l.loops.Done()
	for {
		select {
		case <-l.wake:
		case <-l.ended:
			return
		}
		frame := l.nextFrame()
		if frame == nil {
			continue
		}
		if err := l.stream.Send(frame); err != nil {
			return // readLoop learns why
		}
		if frame.GetClose() {
			_ = l.stream.CloseSend() // cannot fail on a live stream, and a dead one is readLoop's
			return
		}
	}
}

// nextFrame collects what is to be said, nil for nothing.
func (l *Listener) nextFrame() *pb.ListenHostFrame {
	l.mu.Lock()
	defer l.mu.Unlock()
	frame := &pb.ListenHostFrame{
		Epoch: l.epoch, CreditMessages: uint32(l.newCredit), CreditBytes: uint64(l.newBytes),
		Outcomes: l.outcomes, Close: l.closing,
	}
	switch {
	case l.stopping && !l.stopSent:
		frame.Stop, l.stopSent = true, true
		if l.hurry {
			notify(l.wake) // the second one comes in a frame of its own
		}
	case l.hurry && !l.hurrySent:
		frame.Stop, l.hurrySent = true, true
	}
	l.newCredit, l.newBytes, l.outcomes = 0, 0, nil
	l.late.over()
	if frame.CreditMessages == 0 && frame.CreditBytes == 0 && frame.Outcomes == nil && !frame.Stop && !frame.Close {
		return nil
	}
	return frame
}

// readLoop takes in deliveries until the stream ends.
func (l *Listener) readLoop() {
	defer l.loops.Done()
	defer close(l.ended)
	for {
		frame, err := l.stream.Recv()
		if err == nil {
			err = l.receive(frame)
		}
		if err == nil {
			l.inReceiver.Lock()
			l.hand()
			l.inReceiver.Unlock()
		}
		if err != nil {
			l.fail(err)
			return
		}
	}
}

// receive checks a frame against the credit and hands it to Poll.
func (l *Listener) receive(frame *pb.ListenDriverFrame) error {
	if frame.GetEpoch() != l.epoch {
		return protocolError("deliveries of epoch %d came in epoch %d", frame.GetEpoch(), l.epoch)
	}
	batch, err := l.decode(frame)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(batch) > l.credit {
		return protocolError("%d deliveries came on a credit of %d", len(batch), l.credit)
	}
	l.credit -= len(batch)
	for i := range batch {
		d := &batch[i]
		size := sizeOf(d)
		l.lastToken = max(l.lastToken, d.Token)
		l.bytes -= size
		l.bufferedBytes += size
		l.park(d)
		l.buffered = append(l.buffered, d)
	}
	if most := l.overdraft(); -l.bytes > most {
		return protocolError("deliveries overdrew the credit by %d bytes, %d are allowed", -l.bytes, most)
	}
	l.giveBackLocked()
	if frame.GetStopped() && !l.wasStopped {
		l.wasStopped = true
		close(l.stopped)
		l.failed = errListenerStopped()
	}
	if l.receiver == nil && len(batch) > 0 || frame.GetStopped() {
		notify(l.ready)
	}
	return nil
}

// decode returns the deliveries of a frame, with those that it completes.
func (l *Listener) decode(frame *pb.ListenDriverFrame) ([]driver.Delivery, error) {
	if err := l.partials.add(frame.GetChunks()); err != nil {
		return nil, err
	}
	in := frame.GetDeliveries()
	batch := make([]driver.Delivery, len(in))
	for i, p := range in {
		d := &batch[i]
		messageFromProto(&d.Message, p.GetMessage())
		if err := l.partials.finish(&d.Message, p.GetMessage().GetChunks()); err != nil {
			return nil, err
		}
		d.Token, d.Redelivered = p.GetToken(), p.GetRedelivered()
		if err := l.lost(d, p); err != nil {
			return nil, err
		}
	}
	return batch, nil
}

// overdraft is how many bytes may come beyond the credit. A driver stops at zero, but finishes
// the messages in chunks that it began: one of any size, and others within the credit. As much
// again is for what is counted differently. Drivers that know no chunks never minded the bytes
// much, and a listener that is stopped gets what there is.
func (l *Listener) overdraft() int {
	if l.limits.MaxMessageBytes == 0 || l.stopping {
		return math.MaxInt
	}
	return 2*listenWindowBytes + l.limits.MaxMessageBytes
}

func errListenerStopped() error {
	return driver.Errorf(driver.ReasonClosed, "the listener was stopped")
}

// fail ends the listener: what is buffered is still returned, then the cause.
func (l *Listener) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.wasStopped:
	case l.stopping && errors.Is(err, io.EOF):
		l.failed = errListenerStopped()
	default:
		l.failed = gone(driver.AsError(FromGRPC(err)))
	}
	if !l.wasStopped {
		l.wasStopped = true
		close(l.stopped)
	}
	notify(l.ready)
}

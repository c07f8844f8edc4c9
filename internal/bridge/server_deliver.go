// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"context"
	"time"

	"github.com/parleymq/parley/plugin/driver"
	pb "github.com/parleymq/parley/plugin/proto"
)

// firstMean is what a delivery counts for when none has come yet. It makes 64 of the window:
// a listener of large messages must not begin with as many as small ones would be.
const firstMean = listenWindowBytes / 64

// polled is a delivery that Poll returned.
type polled struct {
	*driver.Delivery
	size int
	at   time.Time // those before it in the batch may have waited for the stream
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
			if ctx.Err() != nil || driver.ReasonOf(err) == driver.ReasonClosed && f.lingering.asked() {
				return f.stopped(ctx)
			}
			return err
		}
	}
}

// awaitCredit returns how many messages may come next. Bytes left are turned into messages
// by the mean size of those before. It returns 0 when ctx ended.
func (f *listenFeed) awaitCredit(ctx context.Context) int {
	for ctx.Err() == nil {
		f.mu.Lock()
		credit, bytes := f.credit, f.bytes-load(f.large.items)
		f.mu.Unlock()
		if credit > 0 && bytes > 0 {
			mean := f.mean
			if mean == 0 {
				mean = firstMean
			}
			return min(credit, max(1, bytes/mean))
		}
		select {
		case <-f.wake:
		case <-ctx.Done():
		}
	}
	return 0
}

// send writes deliveries in as many frames as the limits ask for. Those beyond the byte credit
// wait for more, unless ctx ends: then everything that was polled goes.
func (f *listenFeed) send(ctx context.Context, ds []*driver.Delivery) error {
	at := time.Now()
	frame, bytes, total := &pb.ListenDriverFrame{Epoch: f.epoch}, 0, 0
	flush := func() error {
		if len(frame.Deliveries) == 0 {
			return nil
		}
		err := f.write(frame)
		frame, bytes = &pb.ListenDriverFrame{Epoch: f.epoch}, 0
		return err
	}
	left := f.bytesLeft()
	for _, d := range ds {
		f.limitHeaders(d)
		trimLost(d)
		p := polled{Delivery: d, size: sizeOf(d), at: at}
		total += p.size
		if err := f.check(p); err != nil {
			f.refuse(ctx, d, err)
			continue
		}
		large := f.limits.inChunks(p.size)
		if left <= 0 || bytes > 0 && (large || bytes+p.size > f.limits.batch()) {
			if err := flush(); err != nil {
				return err
			}
			left = f.awaitBytes(ctx)
		}
		if large {
			var err error
			if left, err = f.sendLarge(p); err != nil {
				return err
			}
			continue
		}
		frame.Deliveries = append(frame.Deliveries, f.toProto(p))
		bytes += p.size
		left -= p.size
	}
	f.average(total / len(ds))
	return flush()
}

// average keeps the running mean of a delivery's size, which follows a rise at once.
func (f *listenFeed) average(mean int) {
	if mean > f.mean {
		f.mean = mean
		return
	}
	f.mean = (3*f.mean + mean) / 4
}

// bytesLeft is the byte credit, less what the large messages that are not through will use. One
// may overdraw.
func (f *listenFeed) bytesLeft() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.bytes - load(f.large.items)
}

// awaitBytes waits for byte credit and returns it. When ctx ends or the listener is drained it
// does not matter any more.
func (f *listenFeed) awaitBytes(ctx context.Context) int {
	for {
		if left := f.bytesLeft(); left > 0 || f.draining {
			return left
		}
		select {
		case <-f.wake:
		case <-ctx.Done():
			return 0
		}
	}
}

// write writes a frame, with a chunk if there are any.
func (f *listenFeed) write(frame *pb.ListenDriverFrame) error {
	f.writing.Lock()
	defer f.writing.Unlock()
	f.addChunk(frame)
	return f.stream.Send(frame)
}

// limitHeaders leaves headers behind that must not cross. They are no reason to refuse the
// message.
func (f *listenFeed) limitHeaders(d *driver.Delivery) {
	if err := driver.CheckHeaders(d.Headers); err != nil {
		f.server.logger.Debug("message handed over without its headers", "unique_id", d.UniqueID, "err", err.Error())
		d.Headers = nil
	}
}

func (f *listenFeed) check(p polled) error {
	if err := f.checkLost(p.Delivery); err != nil {
		return err
	}
	if err := f.limits.check(&p.Message, p.size); err != nil {
		return err.WithHint("raise MaxMessageBytes, of the Host and of the driver's ServeOptions: the smaller counts")
	}
	return checkText(&p.Message)
}

// refuse drops a delivery that cannot cross, so that it does not come again for ever.
func (f *listenFeed) refuse(ctx context.Context, d *driver.Delivery, cause error) {
	f.server.logger.Error("message dropped: it cannot be handed to the application",
		"kind", d.Kind.String(), "unique_id", d.UniqueID, "err", cause.Error())
	if !f.settleOnDone || d.Lost != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if err := f.listener.Done(ctx, []driver.Outcome{{Token: d.Token, Result: driver.Rejected}}); err != nil {
		f.server.logger.Error("rejecting a message failed", "err", err.Error())
	}
}

// toProto converts a delivery and uses credit for it.
func (f *listenFeed) toProto(p polled) *pb.Delivery {
	out := f.convert(p)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.credit--
	f.chargeLocked(out, p)
	return out
}

func (f *listenFeed) convert(p polled) *pb.Delivery {
	out := &pb.Delivery{Message: new(pb.Message), Redelivered: p.Redelivered}
	if p.TimeLeft != 0 {
		p.Waited(time.Since(p.at))
	}
	messageToProto(out.Message, &p.Message, p.TimeLeft)
	if p.Lost != nil {
		out.Lost = StatusToProto(p.Lost)
	}
	return out
}

// chargeLocked takes the bytes of a delivery off the credit and gives it its token.
func (f *listenFeed) chargeLocked(out *pb.Delivery, p polled) {
	f.bytes -= p.size
	if f.settleOnDone && p.Lost == nil {
		out.Token = f.tokens.push(p.Token)
	}
}

// stopped tells the host that no delivery comes any more. With SettleOnPoll the driver may
// hold messages that it acknowledged already: they are sent first, credit or not is no
// question any more, for they are within what was granted.
func (f *listenFeed) stopped(ctx context.Context) error {
	select {
	case <-f.stream.Context().Done():
		return nil // the host is gone: there is nobody to tell
	case <-f.closing:
		return nil // run tells it
	default:
	}
	if err := f.drain(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	f.finishLarge()
	return f.write(&pb.ListenDriverFrame{Epoch: f.epoch, Stopped: true})
}

// drain takes what a driver with the ability Stop acknowledged and did not return.
func (f *listenFeed) drain(ctx context.Context) error {
	stopper, ok := f.listener.(driver.Stopper)
	if !ok || f.lingers { // which ended by itself, or is not wanted any more
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	if err := stopper.Stop(ctx); err != nil {
		return err
	}
	f.draining = true
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

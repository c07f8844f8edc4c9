// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/parleymq/parley/plugin/driver"
	pb "github.com/parleymq/parley/plugin/proto"
)

// capLostReplies is what a host says of itself that understands Delivery.lost. To one that does
// not, a lost reply would look like a reply without content.
const capLostReplies = "lost_replies"

// hostCapabilities is what this host can do beyond the major's minimum.
func hostCapabilities() []string { return []string{capLostReplies} }

// maxLostText bounds each text of a lost reply's error: many may come at once.
const maxLostText = 1 << 10

// losesReplies reports whether replies to the source end with their address (LOST-1 to LOST-3).
func losesReplies(info driver.Info, src driver.Source) bool {
	return src.Kind == driver.SourceReplies && !info.Has(driver.CapStableReplies)
}

// sizeOf is what a delivery counts for in credit and frames.
func sizeOf(d *driver.Delivery) int {
	n := d.Size()
	if d.Lost != nil {
		n += len(d.Lost.Message) + len(d.Lost.Hint)
	}
	return n
}

// shortLost is an error of a lost reply as it crosses. Whatever a driver says, such a call is in
// doubt.
func shortLost(e *driver.Error) *driver.Error {
	return &driver.Error{
		Reason: e.Reason, Message: clipTo(e.Message, maxLostText), Hint: clipTo(e.Hint, maxLostText),
		Retryable: e.Retryable, RetryAfter: e.RetryAfter, InDoubt: true,
	}
}

// trimLost leaves of a lost reply what is said to be set.
func trimLost(d *driver.Delivery) {
	if d.Lost == nil {
		return
	}
	*d = driver.Delivery{Message: driver.Message{Kind: driver.Reply, CallID: d.CallID}, Lost: shortLost(d.Lost)}
}

// checkLost refuses a lost reply that would mean nothing to the host.
func (f *listenFeed) checkLost(d *driver.Delivery) error {
	switch {
	case d.Lost == nil:
		return nil
	case !f.replies:
		return driver.Errorf(driver.ReasonDriverBug, "a lost reply came from a source that is not of replies (LOST-1)")
	case d.CallID == "":
		return driver.Errorf(driver.ReasonDriverBug, "a lost reply names no call (LOST-1)")
	case !f.tellsLost:
		return driver.Errorf(driver.ReasonUnsupported, "the application is older than lost replies: the call waits until its time is over")
	default:
		return nil
	}
}

// lost fills d from p when p is no message. Only a source of replies loses any.
func (l *Listener) lost(d *driver.Delivery, p *pb.Delivery) error {
	if p.GetLost() == nil {
		return nil
	}
	call := p.GetMessage().GetCallId()
	if !l.replies || call == "" {
		return protocolError("a lost reply came that names no call, or from a source that has none")
	}
	*d = driver.Delivery{
		Message: driver.Message{Kind: driver.Reply, CallID: call},
		Lost:    shortLost(driver.AsError(StatusFromProto(p.GetLost()))),
	}
	return nil
}

// tellsLost reports whether the host understands lost replies.
func (s *Server) tellsLost() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hostLost
}

// noteHostLocked keeps what the host can do.
func (s *Server) noteHostLocked(r *pb.HelloRequest) {
	s.hostLost = slices.Contains(r.GetCapabilities(), capLostReplies)
}

// lingering is the Stop of a driver that goes on taking replies until the calls under way are
// answered (LOST-3), which may take as long as the host likes.
type lingering struct {
	wg sync.WaitGroup // the goroutine that is in Stop

	mu     sync.Mutex
	cancel context.CancelFunc // ends Stop; nil before it began; guarded by mu
	told   bool               // Stop was asked for; guarded by mu
}

// asked reports whether the end of the listener is no surprise.
func (g *lingering) asked() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.told
}

// linger begins the driver's Stop, or ends its patience when it has begun. Poll goes on meanwhile
// and ends by itself. It reports false when the driver has no such ability.
func (f *listenFeed) linger(ctx context.Context, stopPolling func()) bool {
	stopper, ok := f.listener.(driver.Stopper)
	if !ok {
		return false
	}
	f.lingering.mu.Lock()
	defer f.lingering.mu.Unlock()
	if f.lingering.told {
		f.lingering.cancel()
		return true
	}
	ctx, cancel := context.WithCancel(ctx)
	f.lingering.told, f.lingering.cancel = true, cancel
	f.lingering.wg.Go(func() {
		defer cancel()
		if err := f.stopDriver(ctx, stopper); err != nil && ctx.Err() == nil {
			f.server.logger.Error("stopping a listener of replies failed", "err", err.Error())
			stopPolling()
		}
		f.endUnpolled(stopPolling)
	})
	return true
}

// lastCredit is how long a driver that has stopped waits for credit to hand over what it has.
const lastCredit = time.Second

// endUnpolled ends the polling of a driver that has stopped where nobody grants credit any more:
// Poll, which would say so, is not called.
func (f *listenFeed) endUnpolled(stopPolling func()) {
	tick := time.NewTicker(lastCredit)
	defer tick.Stop()
	for {
		select {
		case <-f.pollEnded:
			return
		case <-f.ended:
			return
		case <-tick.C:
		}
		f.mu.Lock()
		credit := f.credit
		f.mu.Unlock()
		if credit <= 0 {
			stopPolling()
			return
		}
	}
}

func (f *listenFeed) stopDriver(ctx context.Context, stopper driver.Stopper) (err error) {
	defer f.server.recoverTo("Stop", &err)
	return stopper.Stop(ctx)
}

// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// notifying is one run of a NotificationListener: from listening to the last settlement.
//
// Its goroutines: the one that receives, which is Serve's; one for each notification or batch that
// is being handled, at most Concurrency; the one that settles. Serve waits for all of them, and for
// the timers of what is to come again. Only handlers that ignore the end of their context are left
// behind: what they do then has no effect.
type notifying struct {
	l        *NotificationListener
	plan     *notificationPlan
	in       *intake
	seen     *dedupe
	order    *lines[*notice]
	batches  *batches // nil when there are no handlers of batches
	attempts *attempts
	settling *settling
	delayed  delayed
	requeues bool // the driver can give back

	work     context.Context // of all handlers
	stopWork context.CancelCauseFunc
	handlers sync.WaitGroup
}

func newNotifying(ctx context.Context, l *NotificationListener, plan *notificationPlan, listener driver.Listener) *notifying {
	v := &notifying{
		l: l, plan: plan, seen: newDedupe(l.opts.DedupeSize, l.opts.DedupeAge), order: newLines[*notice](),
		attempts: newAttempts(), settling: newSettling(listener, l.opts.Logger, AckAfterHandler),
		requeues: l.t.requires(driver.CapRequeue, "", operation{}) == nil,
	}
	v.settling.keeps = !v.requeues
	if len(plan.batched) > 0 {
		v.batches = newBatches(v, *l.opts.Batch)
	}
	v.in = newIntake(listener, l.opts.intake(plan))
	detached := context.WithoutCancel(ctx)
	v.work, v.stopWork = context.WithCancelCause(detached)
	go v.settling.run(detached)
	return v
}

// run receives until polling ends, and drains. It returns what receiving failed with.
func (v *notifying) run(polling context.Context) error {
	err := v.in.run(polling, v.startAll)
	logger, ctx := v.l.opts.Logger, context.WithoutCancel(polling)
	if stopErr := v.in.rest(polling, v.returnAll); stopErr != nil {
		logger.WarnContext(ctx, "stopping the notification listener failed", errorAttr(stopErr))
	}
	v.returnWaiting()
	v.drain(ctx)
	v.l.counters.returned.Add(uint64(v.settling.close()))
	if closeErr := v.in.close(polling); closeErr != nil {
		logger.WarnContext(ctx, "closing the notification listener failed", errorAttr(closeErr))
	}
	return err
}

// returnAll gives back deliveries that nothing was done for.
func (v *notifying) returnAll(batch []*driver.Delivery) {
	v.l.counters.received.Add(uint64(len(batch)))
	v.l.counters.returned.Add(uint64(len(batch)))
	v.settling.begin(batch)
	tokens := make([]uint64, len(batch))
	for i, d := range batch {
		tokens[i] = d.Token
	}
	v.settling.settle(driver.Requeued, tokens...)
}

// returnWaiting gives back what waits: for its turn, for its batch, or to come again. What is to
// come again from now on does so at once.
func (v *notifying) returnWaiting() {
	waiting := append(v.order.takeWaiting(), v.delayed.close()...)
	if v.batches != nil {
		waiting = append(waiting, v.batches.takeWaiting()...)
	}
	v.giveBack(waiting...)
}

// drain waits for handlers, and cuts them off when their time is over.
func (v *notifying) drain(ctx context.Context) {
	defer v.stopWork(ErrServerClosed)
	finished := make(chan struct{})
	go func() { // ends when the last handler does, which may be after a cut
		defer close(finished)
		v.handlers.Wait()
	}()
	var limit <-chan time.Time
	if !isClosed(v.l.stopping) {
		limit = time.After(v.l.opts.ShutdownTimeout)
	}
	select {
	case <-finished:
	case <-limit:
	case <-v.l.cancel:
	}
	v.stopWork(ErrServerClosed)
	if !waitFor(finished, cancelGrace) {
		v.l.opts.Logger.ErrorContext(ctx, "handlers ignored the end of their context and are left behind", "running", v.l.counters.running.Load())
	}
}

// startAll starts what is to be handled.
func (v *notifying) startAll(batch []*driver.Delivery) {
	v.l.counters.received.Add(uint64(len(batch)))
	v.settling.begin(batch)
	now := time.Now()
	for _, d := range batch {
		if n := v.admit(d, now); n == nil {
			v.in.release(1)
		} else {
			v.l.counters.running.Add(1)
			v.start(n)
		}
	}
}

// admit decides what becomes of a delivery: it returns the notice that is to be handled, or nil for
// one that is settled already.
func (v *notifying) admit(d *driver.Delivery, now time.Time) *notice {
	c, logger := &v.l.counters, v.l.opts.Logger
	if d.Kind != driver.Notification {
		logger.LogAttrs(v.work, slog.LevelError, "message dropped: it is no notification", slog.String("kind", d.Kind.String()),
			shown("message_id", d.UniqueID), slog.String("hint", "a pool must not have the name of a topic of RPC servers"))
		c.malformed.Add(1)
		v.settling.settle(driver.Rejected, d.Token)
		return nil
	}
	if state, _ := v.seen.lookUp(d, now); state != seenNever {
		c.duplicates.Add(1)
		if state == seenDone { // else it is settled with the first
			v.settling.settle(driver.Accepted, d.Token)
		}
		logger.LogAttrs(v.work, slog.LevelDebug, "notification dropped: it was received before", shown("message_id", d.UniqueID))
		return nil
	}
	n := newNotice(d)
	if n.malformed {
		c.malformed.Add(1)
	}
	n.n.serializer = v.l.opts.Serializer
	n.attempt = v.attempts.of(n) + 1
	n.n.Attempt = n.attempt
	v.seen.begin(&n.inProgress)
	return n
}

// start begins a notice, or lets it wait for its turn or its batch.
func (v *notifying) start(n *notice) {
	if v.batches != nil {
		n.find(v.plan)
		v.batches.add(n)
		return
	}
	if keyOf := v.l.opts.OrderBy; keyOf != nil && !n.malformed {
		n.err = guarded(func() error {
			n.key = keyOf(n.n)
			return nil
		})
		v.report(n.context(v.work), "asking for the key of its order", n.err)
	}
	if v.order.enter(n.key, n) {
		v.handlers.Go(func() { v.handleLine(n) })
	}
}

// handleLine handles a notice, and lets the next of its key begin, whichever way the handler ends.
func (v *notifying) handleLine(n *notice) {
	defer func() {
		if next, more := v.order.next(n.key); more {
			v.handlers.Go(func() { v.handleLine(next) })
		}
	}()
	v.handle([]*notice{n})
}

// handle runs the handlers of notices of one priority, and settles them. More than one come for
// handlers of batches.
func (v *notifying) handle(all []*notice) {
	finished := false
	defer func() {
		if !finished { // a handler ended its goroutine: what is left to do is done on its way out
			v.handle(all)
		}
	}()
	for _, n := range all {
		n.find(v.plan)
	}
	for _, h := range v.plan.handlers {
		v.handleBy(h, all)
	}
	finished = true
	for _, n := range all {
		v.settle(n)
	}
}

// handleBy runs one handler on those that it is the next for.
func (v *notifying) handleBy(h *notificationHandler, all []*notice) {
	var batch []*notice
	for _, n := range all {
		switch {
		case !n.begin(h):
		case v.work.Err() != nil:
			n.err = ErrServerClosed // this handler was not begun
		case h.batch != nil:
			batch = append(batch, n)
		default:
			v.runOne(h.one, n)
		}
	}
	if len(batch) > 0 {
		v.runBatch(h.batch, batch)
	}
}

// runOne runs a handler of single notifications, and notes how it ended.
func (v *notifying) runOne(fn NotificationHandler, n *notice) {
	carried := n.context(v.work)
	err := errGone
	defer func() {
		carried.end()
		v.report(carried, "notification handler", err)
		n.err = err
	}()
	ctx, converted := v.convert(carried)
	if converted != nil {
		err = converted
		return
	}
	err = guarded(func() error { return fn(ctx, n.n) })
}

// convert lets the application's serializer make the context of a handler.
func (v *notifying) convert(c *notificationContext) (context.Context, error) {
	s := v.l.opts.Serializer
	if s == nil {
		return c, nil
	}
	ctx, err := unmarshalContextWith(c, s)
	if err != nil {
		return nil, &Error{Code: CodeEncoding, Op: "notification " + truncate(c.n.EventType, maxShownMethod),
			Message: fmt.Sprintf("the request context cannot be understood: %v", err), Err: err}
	}
	return ctx, nil
}

// runBatch runs a handler of batches, and notes how it ended for each.
func (v *notifying) runBatch(fn NotificationBatchHandler, all []*notice) {
	batch := make([]*Notification, len(all))
	for i, n := range all {
		batch[i] = n.n
	}
	ctx := &notificationContext{endingContext: endingContext{Context: v.work}}
	err := errGone
	defer func() {
		ctx.end()
		v.report(ctx, "notification batch handler", err)
		for i, n := range all {
			n.err = failureOf(err, i, len(all))
		}
	}()
	err = guarded(func() error { return fn(ctx, batch) })
}

// report records what a handler should never do.
func (v *notifying) report(ctx context.Context, who string, err error) {
	logger := v.l.opts.Logger
	if err == errGone {
		logger.LogAttrs(ctx, slog.LevelError, who+" ended its goroutine")
		return
	}
	if p, ok := err.(*panicError); ok { //nolint:errorlint // one that is wrapped was reported by whoever caught it
		logger.LogAttrs(ctx, slog.LevelError, who+" panicked", errorAttr(p), slog.String("stack", string(p.stack)))
	}
}

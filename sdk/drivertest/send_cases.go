// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

func sendCases() []Case {
	mandatory := []driver.Capability{driver.CapRPC, driver.CapMandatory}
	return []Case{
		{Rule: "SEND-1", Name: "what Send took arrives", needs: rpc(), run: sendArrives},
		{Rule: "SEND-1", Name: "a batch of nothing is no error", needs: rpc(), run: sendNothing},
		{Rule: "SEND-2", Name: "a batch that fails in part names the messages that failed", needs: mandatory, run: sendPartly},
		{Rule: "SEND-3", Name: "messages of one batch arrive in order", needs: rpc(), run: sendInOrder},
		{Rule: "SEND-3", Name: "many goroutines send at once", needs: rpc(), run: sendAtOnce},
		{Rule: "SEND-6", Name: "mandatory to nowhere fails with NO_ROUTE", needs: mandatory, run: mandatoryNowhere},
		{Rule: "SEND-6", Name: "a mandatory reply to nobody fails with NO_ROUTE", needs: mandatory, run: mandatoryReply},
		{Rule: "SEND-6", Name: "mandatory to a listener succeeds", needs: mandatory, run: mandatorySomewhere},
		{Rule: "SEND-6", Name: "without mandatory a message to nowhere vanishes in silence", needs: rpc(), lacks: driver.CapDirect, run: vanish},
		{Rule: "SEND-7", Name: "a message whose time ran out is not sent", needs: rpc(), run: sendExpired},
		{Rule: "SEND-7", Name: "a message nobody took in its time is dropped", needs: []driver.Capability{driver.CapRPC, driver.CapExpiry}, lacks: driver.CapDirect, run: expireInQueue},
		{Rule: "SEND-8", Name: "a message above the limit fails alone", needs: rpc(), hook: needsLimit, run: tooLarge},
		{Rule: "LIFE-6", Name: "a message may be changed once Send returned", needs: rpc(), run: lent},
	}
}

func rpc() []driver.Capability { return []driver.Capability{driver.CapRPC} }

func sendArrives(ctx context.Context, w *world) {
	c := w.open(ctx)
	l := w.listen(ctx, c, w.server("one"))
	m := w.cast()
	w.send(ctx, c, m)
	w.wantNext(ctx, l, m, "the topic is new")
}

func sendNothing(ctx context.Context, w *world) {
	if err := w.open(ctx).Send(ctx, nil); err != nil {
		w.Errorf("send nothing: %v", err)
	}
}

func sendPartly(ctx context.Context, w *world) {
	c := w.open(ctx)
	l := w.listen(ctx, c, w.server("one"))
	lost := w.nowhere()
	lost.Mandatory = true
	batch := []*driver.Message{w.cast(), lost, w.cast()}

	err := c.Send(ctx, batch)
	if _, ok := errors.AsType[*driver.BatchError](err); !ok {
		w.Fatalf("one of three messages failed: got %v, want a *BatchError", err)
	}
	for i := range batch {
		failed := driver.MessageErr(err, i)
		if i == 1 {
			w.wantReason(failed, driver.ReasonNoRoute, "the message to nowhere")
		} else if failed != nil {
			w.Errorf("message %d of the batch: %v", i, failed)
		}
	}
	w.wantSame(w.take(ctx, l, 2), []*driver.Message{batch[0], batch[2]})
}

func sendInOrder(ctx context.Context, w *world) {
	c := w.open(ctx)
	l := w.listen(ctx, c, w.server("one"))
	batch := w.casts(100)
	w.send(ctx, c, batch...)
	w.wantSame(w.take(ctx, l, len(batch)), batch)
}

func sendAtOnce(ctx context.Context, w *world) {
	c := w.open(ctx)
	l := w.listen(ctx, c, w.server("one"))
	all := w.casts(200)
	answers := make([]<-chan answer[struct{}], 0, len(all))
	for i := range all {
		answers = append(answers, later(func() (struct{}, error) {
			return struct{}{}, c.Send(ctx, all[i:i+1])
		}))
	}
	for _, a := range answers {
		if _, err := wait(ctx, w, a, "Send"); err != nil {
			w.Fatalf("send: %v", err)
		}
	}
	w.wantSet(w.take(ctx, l, len(all)), all)
}

func mandatoryNowhere(ctx context.Context, w *world) {
	c := w.open(ctx)
	w.caller(ctx, c)
	for _, kind := range []driver.Kind{driver.Call, driver.Cast} {
		m := w.nowhere()
		m.Kind, m.Mandatory = kind, true
		m.ReplyTo, m.CallID = w.replyName(), "call-1"
		w.wantReason(c.Send(ctx, []*driver.Message{m}), driver.ReasonNoRoute, "a mandatory "+kind.String()+" to nowhere")

		m.Target.Server = "one"
		w.wantReason(c.Send(ctx, []*driver.Message{m}), driver.ReasonNoRoute, "a mandatory "+kind.String()+" to no server")
	}
}

func mandatoryReply(ctx context.Context, w *world) {
	m := w.reply("reply_nobody_"+w.namespace, "call-1", `null`)
	m.Mandatory = true
	w.wantReason(w.open(ctx).Send(ctx, []*driver.Message{m}), driver.ReasonNoRoute, "a mandatory reply to nobody")
}

func mandatorySomewhere(ctx context.Context, w *world) {
	c := w.open(ctx)
	l := w.listen(ctx, c, w.server("one"))
	messages := []*driver.Message{w.cast(), w.castTo("one")}
	for _, m := range messages {
		m.Mandatory = true
		w.send(ctx, c, m)
	}
	w.wantSet(w.take(ctx, l, 2), messages)
}

func vanish(ctx context.Context, w *world) {
	c := w.open(ctx)
	// Not a reply: a driver may ask for a route for those by itself, as upstream's does.
	w.send(ctx, c, w.nowhere())
}

func sendExpired(ctx context.Context, w *world) {
	c := w.open(ctx)
	l := w.listen(ctx, c, w.server("one"))
	late, good := w.cast(), w.cast()
	late.TimeLeft = -time.Millisecond
	w.wantReason(c.Send(ctx, []*driver.Message{late}), driver.ReasonExpired, "a message without time")
	w.send(ctx, c, good)
	w.wantNext(ctx, l, good, "its time had run out")
}

// expireInQueue leaves a call without a listener for longer than it is wanted. The wait is
// the message's own time, which nothing can shorten.
func expireInQueue(ctx context.Context, w *world) {
	c := w.open(ctx)
	w.caller(ctx, c)
	w.closeListener(ctx, w.listen(ctx, c, w.server("one")))
	late, good := w.cast(), w.cast()
	late.Kind, late.ReplyTo, late.CallID = driver.Call, w.replyName(), "call-1"
	late.TimeLeft = 200 * time.Millisecond
	w.sendInTime(ctx, c, late)
	over := time.NewTimer(late.TimeLeft)
	defer over.Stop()
	select {
	case <-over.C:
	case <-ctx.Done():
		w.Fatalf("the case's time is shorter than the message's")
	}
	w.send(ctx, c, good)
	w.wantNext(ctx, w.listen(ctx, c, w.server("one")), good, "its time ran out in the queue")
}

// sendInTime sends m, with more time when it was over before m was sent: the machine is busy then.
func (w *world) sendInTime(ctx context.Context, c driver.Conn, m *driver.Message) {
	w.Helper()
	for {
		err := c.Send(ctx, []*driver.Message{m})
		if err == nil {
			return
		}
		if driver.ReasonOf(driver.MessageErr(err, 0)) != driver.ReasonExpired || ctx.Err() != nil {
			w.Fatalf("send a message that has %v: %v", m.TimeLeft, err)
		}
		m.TimeLeft *= 2
	}
}

func tooLarge(ctx context.Context, w *world) {
	c := w.open(ctx)
	l := w.listen(ctx, c, w.server("one"))
	large, good := w.cast(), w.cast()
	large.Body = fmt.Appendf(nil, `{"method":"note","args":{"x":%q}}`, strings.Repeat("x", w.h.MessageLimit))
	err := c.Send(ctx, []*driver.Message{large, good})
	w.wantReason(driver.MessageErr(err, 0), driver.ReasonMessageTooLarge, "a message above the limit")
	if err := driver.MessageErr(err, 1); err != nil {
		w.Fatalf("the message after the large one: %v", err)
	}
	w.wantNext(ctx, l, good, "it was too large")
}

func lent(ctx context.Context, w *world) {
	c := w.open(ctx)
	l := w.listen(ctx, c, w.server("one"))
	m := w.cast()
	want := string(m.Body)
	m.Headers = map[string]string{"traceparent": "before"}
	w.send(ctx, c, m)
	copy(m.Body, strings.Repeat("#", len(m.Body)))
	copy(m.Context, "##")
	m.Headers["traceparent"] = "after"
	d := w.take(ctx, l, 1)[0]
	if !sameJSON(d.Body, []byte(want)) {
		w.Errorf("sent %s, changed it after Send, received %s", want, d.Body)
	}
	if w.h.Info().Has(driver.CapHeaders) && d.Headers["traceparent"] != "before" {
		w.Errorf("sent a header, changed it after Send, received %q", d.Headers["traceparent"])
	}
}

// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"context"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

func directCases() []Case {
	mandatory := []driver.Capability{driver.CapRPC, driver.CapMandatory}
	events := []driver.Capability{driver.CapNotifications}
	cases := []Case{
		{Rule: "DIRECT-1", Name: "a message to nobody waits until its ctx ends, and fails with NO_ROUTE for good", needs: rpc(), run: directNobody},
		{Rule: "DIRECT-1", Name: "a message whose time runs out while it waits is never delivered", needs: rpc(), run: directExpires},
		{Rule: "DIRECT-1", Name: "a message that waits reaches the listener that comes", needs: rpc(), run: directReaches},
		{Rule: "DIRECT-1", Name: "a notification that waits reaches the listener that comes", needs: events, run: directNotifies},
		{Rule: "DIRECT-2", Name: "a message that waits holds up no other", needs: rpc(), run: directHoldsUpNothing},
		{Rule: "DIRECT-2", Name: "a message that waits holds up no SendAsync", needs: rpc(), run: directHoldsUpNoAsync},
		{Rule: "DIRECT-3", Name: "FailFast to nobody fails with NO_ROUTE at once", needs: rpc(), run: directFailFast},
		{Rule: "DIRECT-4", Name: "mandatory to nobody does not wait for ctx", needs: mandatory, run: directMandatory},
		{Rule: "DIRECT-6", Name: "a reply to a name that nobody knows does not wait for ctx", needs: rpc(), run: directReply},
	}
	for i := range cases {
		cases[i].only = driver.CapDirect
	}
	return cases
}

// shortly is a ctx for what is to wait until it ends. Nothing can shorten that.
func shortly(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, 200*time.Millisecond)
}

// wantNotDelivered proves that what failed does not come when somebody listens.
func (w *world) wantNotDelivered(ctx context.Context, c driver.Conn) {
	w.Helper()
	w.wantNothingLeft(ctx, c, "its Send had failed")
}

// wantNoRoute wants a message that was certainly not sent.
func (w *world) wantNoRoute(err error, what string) {
	w.Helper()
	w.wantReason(err, driver.ReasonNoRoute, what)
	if driver.AsError(err).InDoubt {
		w.Errorf("%s was not sent, and is in doubt: %v", what, err)
	}
}

func directNobody(ctx context.Context, w *world) {
	c := w.open(ctx)
	short, cancel := shortly(ctx)
	defer cancel()
	messages := []*driver.Message{w.cast(), w.castTo("one"), w.call(time.Minute)}
	answers := make([]<-chan answer[struct{}], len(messages))
	for i := range messages {
		answers[i] = later(func() (struct{}, error) { return struct{}{}, c.Send(short, messages[i:i+1]) })
	}
	for i, a := range answers {
		_, err := wait(ctx, w, a, "Send to nobody")
		w.wantNoRoute(err, "a "+messages[i].Kind.String()+" to nobody")
		if short.Err() == nil {
			w.Errorf("a %s to nobody failed before its ctx ended: %v", messages[i].Kind, err)
		}
	}
	w.wantNotDelivered(ctx, c)
}

func directExpires(ctx context.Context, w *world) {
	c := w.open(ctx)
	for _, m := range []*driver.Message{w.cast(), w.call(0)} {
		m.TimeLeft = 200 * time.Millisecond
		err := c.Send(ctx, []*driver.Message{m})
		if r := driver.ReasonOf(err); err == nil || r != driver.ReasonExpired && r != driver.ReasonNoRoute {
			w.Fatalf("a %s whose time ran out while it waited: %v, want EXPIRED or NO_ROUTE", m.Kind, err)
		}
		if driver.AsError(err).InDoubt {
			w.Errorf("a %s was not sent, and is in doubt: %v", m.Kind, err)
		}
	}
	w.wantNotDelivered(ctx, c)
}

func directReaches(ctx context.Context, w *world) {
	sender, receiver := w.open(ctx), w.open(ctx)
	messages := []*driver.Message{w.cast(), w.castTo("one"), w.call(time.Minute), w.call(0)}
	sent := make([]func(), len(messages))
	for i := range messages {
		sent[i] = w.sendAside(ctx, sender, messages[i])
	}
	l := w.listen(ctx, receiver, w.server("one"))
	for _, s := range sent {
		s()
	}
	w.wantSet(w.take(ctx, l, len(messages)), messages)
}

func directNotifies(ctx context.Context, w *world) {
	sender, receiver := w.open(ctx), w.open(ctx)
	m := w.event(w.topic, "info")
	sent := w.sendAside(ctx, sender, m)
	l := w.listen(ctx, receiver, w.events("", w.topic))
	sent()
	w.wantNext(ctx, l, m, "only one was sent")
}

func directHoldsUpNothing(ctx context.Context, w *world) {
	c := w.open(ctx)
	l := w.listen(ctx, c, w.server("one"))
	waiting, end := context.WithCancel(ctx)
	defer end()
	batch := []*driver.Message{w.nowhere(), w.cast()}
	sending := later(func() (struct{}, error) { return struct{}{}, c.Send(waiting, batch) })
	w.wantNext(ctx, l, batch[1], "the topic is new")
	m := w.cast()
	w.send(ctx, c, m)
	w.wantNext(ctx, l, m, "it was received before")
	end()
	_, err := wait(ctx, w, sending, "Send whose ctx ended")
	w.wantInVain(driver.MessageErr(err, 0))
	if err := driver.MessageErr(err, 1); err != nil {
		w.Errorf("a message that arrived: %v", err)
	}
}

// wantInVain wants the error of a message to nobody whose sender gave up, perhaps before it began
// to wait.
func (w *world) wantInVain(err error) {
	w.Helper()
	if driver.ReasonOf(err) != driver.ReasonCancelled {
		w.wantNoRoute(err, "a message to nobody")
	}
}

func directHoldsUpNoAsync(ctx context.Context, w *world) {
	c, async := w.openAsync(ctx)
	if c == nil {
		w.Errorf("DIRECT-2 needs SendAsync, and the Conn has none")
		return
	}
	l := w.listen(ctx, w.open(ctx), w.server("one"))
	waiting, end := context.WithCancel(ctx)
	defer end()
	var f fates
	async.SendAsync(waiting, []*driver.Message{w.nowhere()}, f.done(0))
	m := w.cast()
	async.SendAsync(ctx, []*driver.Message{m}, f.done(1))
	w.wantNext(ctx, l, m, "the topic is new")
	end()
	w.wantOnce(ctx, c, &f, 2)
	w.wantInVain(f.of(0)[0])
	if err := f.of(1)[0]; err != nil {
		w.Errorf("a message that arrived: %v", err)
	}
}

func directFailFast(ctx context.Context, w *world) {
	c := w.open(ctx)
	l := w.listen(ctx, w.open(ctx), w.server("one"))
	m := w.failFast()
	w.send(ctx, c, m) // it has found its peers
	w.wantNext(ctx, l, m, "the topic is new")

	m = w.failFast()
	m.Target.Topic = w.nowhere().Target.Topic
	w.wantPrompt(ctx, c, m, "a FailFast message to nobody")
}

func directMandatory(ctx context.Context, w *world) {
	m := w.nowhere()
	m.Mandatory = true
	w.wantPrompt(ctx, w.open(ctx), m, "a mandatory message to nobody")
}

// wantPrompt wants NO_ROUTE before a ctx ends.
func (w *world) wantPrompt(ctx context.Context, c driver.Conn, m *driver.Message, what string) {
	w.Helper()
	short, cancel := w.atOnce(ctx)
	defer cancel()
	err := c.Send(short, []*driver.Message{m})
	w.wantNoRoute(err, what)
	if short.Err() != nil {
		w.Errorf("%s waited for its ctx", what)
	}
}

func directReply(ctx context.Context, w *world) {
	c := w.open(ctx)
	err := c.Send(ctx, []*driver.Message{w.reply("reply_nobody_"+w.namespace, "call-1", `null`)})
	if err != nil {
		w.wantNoRoute(err, "a reply to nobody")
	}
	if ctx.Err() != nil {
		w.Errorf("a reply to a name that nobody knows waited for its ctx: %v", err)
	}
}

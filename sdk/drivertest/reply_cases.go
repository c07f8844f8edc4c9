// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"context"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

func replyCases() []Case {
	stable := []driver.Capability{driver.CapRPC, driver.CapStableReplies}
	return []Case{
		{Rule: "SEND-9", Name: "results, failures and heartbeats reach the reply name", needs: rpc(), run: repliesArrive},
		{Rule: "SEND-9", Name: "a reply to the address that came with a call reaches its caller", needs: rpc(), run: repliesToCaller},
		{Rule: "LISTEN-4", Name: "a reply reaches no other reply name", needs: rpc(), run: replyOnlyOwn},
		{Rule: "LISTEN-5", Name: "replies sent while the listener is away wait for it", needs: stable, run: repliesWait},
		{Rule: "LISTEN-5", Name: "replies sent while the connection is away wait for it", needs: stable, run: repliesWaitForConn},
		{Rule: "LISTEN-5", Name: "replies that were not done come again", needs: stable, run: repliesComeAgain},
	}
}

func repliesArrive(ctx context.Context, w *world) {
	c := w.open(ctx)
	l := w.listen(ctx, c, w.replies(w.replyName()))
	failure := w.reply(w.replyName(), "call-2", `null`)
	failure.Failure = []byte(`{"class":"ValueError","module":"builtins","message":"nö","tb":["line"],"args":["nö"],"kwargs":{}}`)
	heartbeat := w.reply(w.replyName(), "call-3", "")
	heartbeat.Kind, heartbeat.Body = driver.Heartbeat, nil
	sent := []*driver.Message{w.reply(w.replyName(), "call-1", `{"result":[1,"zwö",null]}`), failure, heartbeat}
	w.send(ctx, c, sent...)

	got := w.take(ctx, l, len(sent))
	w.wantSame(got, sent)
	for i, d := range got {
		if d.Kind != sent[i].Kind || d.CallID != sent[i].CallID {
			w.Errorf("sent a %s to %s, received a %s to %s", sent[i].Kind, sent[i].CallID, d.Kind, d.CallID)
		}
		if d.Kind == driver.Reply && !sameJSON(d.Body, sent[i].Body) {
			w.Errorf("sent the result %s, received %s", sent[i].Body, d.Body)
		}
	}
	if !sameJSON(got[1].Failure, failure.Failure) || len(got[0].Failure) > 0 {
		w.Errorf("sent the failure %s, received %s; and with a result %s", failure.Failure, got[1].Failure, got[0].Failure)
	}
}

// repliesToCaller sends from a Conn that knows nothing of the caller but what came with the call.
func repliesToCaller(ctx context.Context, w *world) {
	caller, peer := w.open(ctx), w.open(ctx)
	replies := w.listen(ctx, caller, w.replies(w.replyName()))
	server := w.listen(ctx, peer, w.server("one"))
	sent := w.call(time.Minute)
	w.send(ctx, caller, sent)
	call := w.take(ctx, server, 1)[0]
	if call.ReplyTo == "" || call.CallID != sent.CallID {
		w.Fatalf("the call %s came as %q with the address %q for its reply", sent.CallID, call.CallID, call.ReplyTo)
	}
	beat := w.reply(call.ReplyTo, call.CallID, "")
	beat.Kind, beat.Body = driver.Heartbeat, nil
	reply := w.reply(call.ReplyTo, call.CallID, `"done"`)
	w.send(ctx, peer, beat)
	w.send(ctx, peer, reply)
	got := w.take(ctx, replies, 2)
	w.wantSame(got, []*driver.Message{beat, reply})
	for i, kind := range []driver.Kind{driver.Heartbeat, driver.Reply} {
		if got[i].Kind != kind || got[i].CallID != sent.CallID {
			w.Errorf("received a %s to %s, want a %s to %s", got[i].Kind, got[i].CallID, kind, sent.CallID)
		}
	}
}

func replyOnlyOwn(ctx context.Context, w *world) {
	c := w.open(ctx)
	mine, theirs := w.replyName(), "other_"+w.namespace
	lm, lt := w.listen(ctx, c, w.replies(mine)), w.listen(ctx, c, w.replies(theirs))
	a, b := w.reply(mine, "call-1", `1`), w.reply(theirs, "call-1", `2`)
	w.send(ctx, c, b, a)
	w.wantNext(ctx, lm, a, "it was sent to another reply name")
	w.wantNext(ctx, lt, b, "it was sent to another reply name")
}

func repliesWait(ctx context.Context, w *world) {
	c := w.open(ctx)
	w.introduce(ctx, c, c)
	w.sendReplies(ctx, c, c)
}

func repliesWaitForConn(ctx context.Context, w *world) {
	sender, receiver := w.open(ctx), w.open(ctx)
	w.introduce(ctx, sender, receiver)
	w.closeConn(ctx, receiver)
	w.sendReplies(ctx, sender, w.open(ctx))
}

// introduce lets the sender know the reply name, and its listener go away.
func (w *world) introduce(ctx context.Context, sender, receiver driver.Conn) {
	w.Helper()
	l := w.listen(ctx, receiver, w.replies(w.replyName()))
	m := w.reply(w.replyName(), "call-0", `0`)
	w.send(ctx, sender, m)
	w.wantNext(ctx, l, m, "the reply name is new")
	w.closeListener(ctx, l)
}

// sendReplies sends before it listens.
func (w *world) sendReplies(ctx context.Context, sender, receiver driver.Conn) {
	w.Helper()
	a, b := w.reply(w.replyName(), "call-1", `1`), w.reply(w.replyName(), "call-2", `2`)
	a.Mandatory = w.h.Info().Has(driver.CapMandatory) && !w.direct() // which does not wait then
	sent := w.sendAside(ctx, sender, a, b)
	l := w.listen(ctx, receiver, w.replies(w.replyName()))
	sent()
	w.wantSame(w.take(ctx, l, 2), []*driver.Message{a, b})
}

func repliesComeAgain(ctx context.Context, w *world) {
	c := w.open(ctx)
	l := w.listen(ctx, c, w.replies(w.replyName()))
	sent := []*driver.Message{w.reply(w.replyName(), "call-1", `1`), w.reply(w.replyName(), "call-2", `2`)}
	w.send(ctx, c, sent...)
	w.receive(ctx, l, 1)
	w.closeListener(ctx, l)
	w.wantSet(w.take(ctx, w.listen(ctx, c, w.replies(w.replyName())), 2), sent)
}

// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

func bodyCases() []Case {
	headers := []driver.Capability{driver.CapRPC, driver.CapHeaders}
	fixed := []Case{
		{Rule: "SEND-9", Name: "every field of a call arrives", needs: rpc(), run: callArrivesWhole},
		{Rule: "SEND-9", Name: "a body of 1 MiB arrives unchanged", needs: rpc(), run: largeBody},
		{Rule: "SEND-9", Name: "large and small bodies in one batch arrive unchanged", needs: rpc(), run: mixedBodies},
		{Rule: string(driver.CapHeaders), Name: "headers arrive with a call and its reply", needs: headers, run: headersArrive},
		{Rule: string(driver.CapHeaders), Name: "headers above the limits are refused, and harm nothing", needs: headers, run: headersRefused},
	}
	texts := bodies()
	cases := make([]Case, 0, len(fixed)+len(texts))
	cases = append(cases, fixed...)
	for _, b := range texts {
		cases = append(cases, Case{
			Rule: "SEND-9", Name: "a body with " + b.name + " arrives unchanged", needs: rpc(),
			run: func(ctx context.Context, w *world) { bodyArrives(ctx, w, []byte(b.body)) },
		})
	}
	return cases
}

// bodies are texts that a driver which reads the body, instead of passing it on, spoils.
func bodies() []struct{ name, body string } {
	return []struct{ name, body string }{
		{"letters of every kind", `{"method":"note","args":{"x":"äß 日本語 👩‍🚀 \u2028 \u0000 \ud83d\ude00 \"\\/"}}`},
		{"half of a surrogate pair", `{"method":"note","args":{"x":"\ud83d"}}`},
		{"integers of any size", `{"method":"note","args":{"x":123456789012345678901234567890,"y":9007199254740993}}`},
		{"NaN and Infinity", `{"method":"note","args":{"x":NaN,"y":[Infinity,-Infinity]}}`},
		{"HTML in it", `{"method":"note","args":{"x":"<a href='?b&c'>"}}`},
		{"keys that a wire may use itself", `{"method":"note","args":{"_msg_id":"x","oslo.message":{},"_context_y":1}}`},
		{"a namespace and a version", `{"method":"note","namespace":"compute","version":"2.3","args":{}}`},
	}
}

func bodyArrives(ctx context.Context, w *world, body []byte) {
	c := w.open(ctx)
	l := w.listen(ctx, c, w.server("one"))
	m := w.cast()
	m.Body = body
	w.send(ctx, c, m)
	if d := w.take(ctx, l, 1)[0]; !sameJSON(d.Body, body) {
		w.Errorf("sent %s, received %s", body, d.Body)
	}
}

func callArrivesWhole(ctx context.Context, w *world) {
	c := w.open(ctx)
	l := w.listen(ctx, c, w.server("one"))
	w.caller(ctx, c)
	m := w.cast()
	m.Kind, m.ReplyTo, m.CallID = driver.Call, w.replyName(), "call-"+w.namespace
	m.Context = []byte(`{"user":"ünï","request_id":"req-1","is_admin":true,"roles":["a","b"],"none":null}`)
	m.MonitorTimeout, m.TimeLeft = 4*time.Second, time.Minute
	w.send(ctx, c, m)

	d := w.take(ctx, l, 1)[0]
	for _, f := range []struct {
		field     string
		got, want any
	}{
		{"Kind", d.Kind, m.Kind},
		{"ReplyTo", d.ReplyTo, w.addressOf(m, d)},
		{"CallID", d.CallID, m.CallID},
		{"UniqueID", d.UniqueID, m.UniqueID},
		{"MonitorTimeout", d.MonitorTimeout, m.MonitorTimeout},
	} {
		if f.got != f.want {
			w.Errorf("%s: sent %v, received %v", f.field, f.want, f.got)
		}
	}
	if !sameJSON(d.Context, m.Context) || !sameJSON(d.Body, m.Body) {
		w.Errorf("sent context %s and body %s, received %s and %s", m.Context, m.Body, d.Context, d.Body)
	}
}

// addressOf is where the reply to m goes, as its server sees it: any address, where a name is none.
func (w *world) addressOf(m *driver.Message, d *driver.Delivery) string {
	if w.h.Info().Has(driver.CapStableReplies) || d.ReplyTo == "" {
		return m.ReplyTo
	}
	return d.ReplyTo
}

// textOf is a body of about n bytes that does not compress.
func textOf(n int) []byte {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789 äöü"
	runes := []rune(letters)
	numbers := rand.New(rand.NewPCG(1, uint64(n))) //nolint:gosec // the same text in each run, not a secret
	var text bytes.Buffer
	for text.Len() < n {
		text.WriteRune(runes[numbers.IntN(len(runes))])
	}
	return fmt.Appendf(nil, `{"method":"note","args":{"x":%q}}`, text.String())
}

func largeBody(ctx context.Context, w *world) { bodyArrives(ctx, w, textOf(1<<20)) }

func mixedBodies(ctx context.Context, w *world) {
	c := w.open(ctx)
	l := w.listen(ctx, c, w.server("one"))
	batch := w.casts(9)
	for i := 0; i < len(batch); i += 3 {
		batch[i].Body = textOf(300 << 10)
	}
	w.send(ctx, c, batch...)
	got := w.take(ctx, l, len(batch))
	w.wantSame(got, batch)
	for i, d := range got {
		if !sameJSON(d.Body, batch[i].Body) {
			w.Errorf("message %d: sent %d bytes, received %d other ones", i, len(batch[i].Body), len(d.Body))
		}
	}
}

func headersArrive(ctx context.Context, w *world) {
	c := w.open(ctx)
	server, client := w.listen(ctx, c, w.server("one")), w.listen(ctx, c, w.replies(w.replyName()))
	call := w.call(time.Minute)
	call.Headers = map[string]string{"traceparent": "00-1-2-01", "baggage": "a=ä", "empty": ""}
	w.send(ctx, c, call)
	w.wantHeaders(w.take(ctx, server, 1)[0], call)

	reply := w.reply(w.replyName(), call.CallID, `null`)
	reply.Headers = map[string]string{"tracestate": "a=b", "baggage": strings.Repeat("b", 8192)}
	w.send(ctx, c, reply)
	w.wantHeaders(w.take(ctx, client, 1)[0], reply)
}

func (w *world) wantHeaders(d *driver.Delivery, m *driver.Message) {
	w.Helper()
	for k, v := range m.Headers {
		if got, ok := d.Headers[k]; !ok || got != v {
			w.Errorf("%s: header %s: sent %q, received %q", m.Kind, k, v, got)
		}
	}
}

func headersRefused(ctx context.Context, w *world) {
	c := w.open(ctx)
	l := w.listen(ctx, c, w.server("one"))
	large, many := w.cast(), w.cast()
	large.Headers = map[string]string{"k": strings.Repeat("v", driver.MaxHeaderBytes)}
	many.Headers = make(map[string]string)
	for i := range driver.MaxHeaders + 1 {
		many.Headers[strconv.Itoa(i)] = ""
	}
	good := w.cast()
	good.Headers = map[string]string{"k": "v"}
	err := c.Send(ctx, []*driver.Message{large, many, good})
	for i := range 2 {
		w.wantReason(driver.MessageErr(err, i), driver.ReasonMessageTooLarge, "headers above the limits")
	}
	w.wantNext(ctx, l, good, "its headers are above the limits")
}

// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// closeTimeout bounds the closing of what a case left open.
const closeTimeout = 10 * time.Second

// world is what one case has: a namespace, and the connections it opened in it. Its methods
// end the case when the driver fails; they are called from the case's goroutine only.
type world struct {
	TB
	h         Harness
	namespace string
	exchange  string
	topic     string
	unproven  string // why the case proved nothing, see skip

	conns     []driver.Conn     // open; closed by finish, after the listeners
	listeners []driver.Listener // open
	sent      int
}

func newWorld(t TB, h Harness) *world {
	ns := strings.ToLower(rand.Text())
	return &world{TB: t, h: h, namespace: ns, exchange: "drivertest", topic: "topic-" + ns}
}

// skip marks the case as not proven. The case then returns.
func (w *world) skip(why string) { w.unproven = why }

// finish closes what the case left open. It has its own time: the case's may have run out.
func (w *world) finish() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	for _, l := range w.listeners {
		if err := l.Close(ctx); err != nil {
			w.Errorf("close a listener: %v", err)
		}
	}
	for _, c := range w.conns {
		if err := c.Close(ctx); err != nil {
			w.Errorf("close a connection: %v", err)
		}
	}
	w.listeners, w.conns = nil, nil
}

func (w *world) open(ctx context.Context) driver.Conn {
	w.Helper()
	c := w.h.Open(ctx, w.TB, w.namespace)
	w.conns = append(w.conns, c)
	return c
}

func (w *world) closeConn(ctx context.Context, c driver.Conn) {
	w.Helper()
	w.conns = slices.DeleteFunc(w.conns, func(o driver.Conn) bool { return o == c })
	if err := c.Close(ctx); err != nil {
		w.Fatalf("close a connection: %v", err)
	}
}

func (w *world) listen(ctx context.Context, c driver.Conn, src driver.Source) driver.Listener {
	w.Helper()
	l, err := c.Listen(ctx, src)
	if err != nil {
		w.Fatalf("listen to %s: %v", src.Kind, err)
	}
	w.listeners = append(w.listeners, l)
	return l
}

func (w *world) closeListener(ctx context.Context, l driver.Listener) {
	w.Helper()
	w.forget(l)
	if err := l.Close(ctx); err != nil {
		w.Fatalf("close a listener: %v", err)
	}
}

// forget leaves the closing of l to the case.
func (w *world) forget(l driver.Listener) {
	w.listeners = slices.DeleteFunc(w.listeners, func(o driver.Listener) bool { return o == l })
}

// server is the Source of one server of the case's topic, settled by Done.
func (w *world) server(name string) driver.Source {
	return driver.Source{
		Kind: driver.SourceServer, Settle: driver.SettleOnDone,
		Target: driver.Target{Exchange: w.exchange, Topic: w.topic, Server: name},
	}
}

// atMostOnce is the same, settled by Poll.
func (w *world) atMostOnce() driver.Source {
	src := w.server("one")
	src.Settle = driver.SettleOnPoll
	return src
}

func (w *world) replies(name string) driver.Source {
	return driver.Source{Kind: driver.SourceReplies, Settle: driver.SettleOnDone, ReplyName: name}
}

func (w *world) replyName() string { return "reply_" + w.namespace }

// cast makes a small message to the case's topic. Its UniqueID is new.
func (w *world) cast() *driver.Message {
	w.sent++
	return &driver.Message{
		Kind:     driver.Cast,
		Target:   driver.Target{Exchange: w.exchange, Topic: w.topic},
		UniqueID: w.namespace + "-" + strconv.Itoa(w.sent),
		Context:  []byte(`{}`),
		Body:     fmt.Appendf(nil, `{"method":"note","args":{"n":%d}}`, w.sent),
	}
}

func (w *world) casts(n int) []*driver.Message {
	messages := make([]*driver.Message, n)
	for i := range messages {
		messages[i] = w.cast()
	}
	return messages
}

func (w *world) castTo(server string) *driver.Message {
	m := w.cast()
	m.Target.Server = server
	return m
}

func (w *world) fanout() *driver.Message {
	m := w.cast()
	m.Target.Fanout = true
	return m
}

// nowhere makes a message to a topic that nobody ever listened to.
func (w *world) nowhere() *driver.Message {
	m := w.cast()
	m.Target.Topic = "nowhere-" + w.namespace
	return m
}

func (w *world) reply(to, callID, body string) *driver.Message {
	w.sent++
	return &driver.Message{
		Kind: driver.Reply, ReplyTo: to, CallID: callID,
		UniqueID: w.namespace + "-" + strconv.Itoa(w.sent), Body: []byte(body),
	}
}

func (w *world) send(ctx context.Context, c driver.Conn, batch ...*driver.Message) {
	w.Helper()
	if err := c.Send(ctx, batch); err != nil {
		w.Fatalf("send %d messages, the first a %s to %+v: %v", len(batch), batch[0].Kind, batch[0].Target, err)
	}
}

// direct reports whether nothing keeps a message that nobody listens for.
func (w *world) direct() bool { return w.h.Info().Has(driver.CapDirect) }

// sendAside sends what nobody may listen for yet. A broker keeps it; without one, Send returns when
// somebody listens, so that the case goes on meanwhile. What is returned waits for it.
func (w *world) sendAside(ctx context.Context, c driver.Conn, batch ...*driver.Message) (sent func()) {
	w.Helper()
	if !w.direct() {
		w.send(ctx, c, batch...)
		return func() {}
	}
	sending := later(func() (struct{}, error) { return struct{}{}, c.Send(ctx, batch) })
	return func() {
		w.Helper()
		if _, err := wait(ctx, w, sending, "a Send that waits for a listener"); err != nil {
			w.Fatalf("send %d messages, the first a %s to %+v: %v", len(batch), batch[0].Kind, batch[0].Target, err)
		}
	}
}

// sendThenListen sends before anybody listens.
func (w *world) sendThenListen(ctx context.Context, c driver.Conn, src driver.Source, batch ...*driver.Message) driver.Listener {
	w.Helper()
	sent := w.sendAside(ctx, c, batch...)
	l := w.listen(ctx, c, src)
	sent()
	return l
}

// receive polls until it has n deliveries.
func (w *world) receive(ctx context.Context, l driver.Listener, n int) []*driver.Delivery {
	w.Helper()
	var got []*driver.Delivery
	for len(got) < n {
		d, err := l.Poll(ctx, n-len(got))
		if err != nil {
			w.Fatalf("poll: %v, after %d of %d messages: %v", err, len(got), n, idsOf(got))
		}
		if len(d) == 0 || len(d) > n-len(got) {
			w.Fatalf("POLL-1: Poll with max %d returned %d messages", n-len(got), len(d))
		}
		got = append(got, d...)
	}
	return got
}

// take receives n messages and accepts them.
func (w *world) take(ctx context.Context, l driver.Listener, n int) []*driver.Delivery {
	w.Helper()
	got := w.receive(ctx, l, n)
	w.settle(ctx, l, driver.Accepted, got...)
	return got
}

func (w *world) settle(ctx context.Context, l driver.Listener, r driver.Result, ds ...*driver.Delivery) {
	w.Helper()
	outcomes := make([]driver.Outcome, len(ds))
	for i, d := range ds {
		if d.Token == 0 {
			w.Fatalf("%s was delivered without a Token, and the source is settled by Done", d.UniqueID)
		}
		outcomes[i] = driver.Outcome{Token: d.Token, Result: r}
	}
	if err := l.Done(ctx, outcomes); err != nil {
		w.Fatalf("done: %v", err)
	}
}

// wantNext takes the next message and compares its UniqueID: it proves that nothing came
// before m in the queue that m is in.
func (w *world) wantNext(ctx context.Context, l driver.Listener, m *driver.Message, unwanted string) {
	w.Helper()
	d := w.take(ctx, l, 1)[0]
	if d.UniqueID != m.UniqueID {
		w.Fatalf("received %s before %s: %s", d.UniqueID, m.UniqueID, unwanted)
	}
}

// wantSame compares UniqueIDs, in order.
func (w *world) wantSame(got []*driver.Delivery, want []*driver.Message) {
	w.Helper()
	ids := make([]string, len(want))
	for i, m := range want {
		ids[i] = m.UniqueID
	}
	if g := idsOf(got); !slices.Equal(g, ids) {
		w.Fatalf("received %v, want %v", g, ids)
	}
}

// wantSet compares UniqueIDs, in any order.
func (w *world) wantSet(got []*driver.Delivery, want []*driver.Message) {
	w.Helper()
	byID := func(a, b *driver.Message) int { return strings.Compare(a.UniqueID, b.UniqueID) }
	w.wantSame(
		slices.SortedFunc(slices.Values(got), func(a, b *driver.Delivery) int {
			return byID(&a.Message, &b.Message)
		}),
		slices.SortedFunc(slices.Values(want), byID),
	)
}

func (w *world) wantReason(err error, want driver.Reason, what string) {
	w.Helper()
	if err == nil {
		w.Fatalf("%s succeeded, want %s", what, want)
	}
	if got := driver.ReasonOf(err); got != want {
		w.Fatalf("%s: %v, want %s", what, err, want)
	}
}

func idsOf(ds []*driver.Delivery) []string {
	ids := make([]string, len(ds))
	for i, d := range ds {
		ids[i] = d.UniqueID
	}
	return ids
}

// later waits in a goroutine for the answer to a call that must not end the case from there.
func later[T any](f func() (T, error)) <-chan answer[T] {
	c := make(chan answer[T], 1)
	go func() {
		v, err := f()
		c <- answer[T]{v, err}
	}()
	return c
}

type answer[T any] struct {
	value T
	err   error
}

// wait returns what later's function returned, or ends the case with ctx.
func wait[T any](ctx context.Context, w *world, c <-chan answer[T], what string) (T, error) {
	w.Helper()
	select {
	case a := <-c:
		return a.value, a.err
	case <-ctx.Done():
		w.Fatalf("%s did not return", what)
		return *new(T), nil
	}
}

// eventually asks until the answer is yes or ctx ends.
func eventually(ctx context.Context, yes func() bool) bool {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !yes() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return yes()
		}
	}
	return true
}

// endedBy reports whether err says that ctx ended.
func endedBy(ctx context.Context, err error) bool {
	return ctx.Err() != nil && errors.Is(err, ctx.Err())
}

// sameJSON compares two texts in the dialect of Python's json module. The order of keys and
// white space mean nothing; every digit of a number does.
func sameJSON(a, b []byte) bool {
	if string(a) == string(b) {
		return true
	}
	x, errX := decodeJSON(a)
	y, errY := decodeJSON(b)
	return errX == nil && errY == nil && x == y
}

// decodeJSON returns a canonical form: keys sorted, numbers as they were written.
func decodeJSON(text []byte) (string, error) {
	d := json.NewDecoder(strings.NewReader(quoteBareWords(string(text))))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return "", err
	}
	canonical, err := json.Marshal(v)
	return string(canonical), err
}

// quoteBareWords turns NaN, Infinity and -Infinity outside strings into strings, so that
// encoding/json can read them.
func quoteBareWords(text string) string {
	var out strings.Builder
	inString := false
	for i := 0; i < len(text); i++ {
		if word := bareWord(text[i:]); word != "" && !inString {
			fmt.Fprintf(&out, "%q", "bare "+word)
			i += len(word) - 1
			continue
		}
		out.WriteByte(text[i])
		switch {
		case inString && text[i] == '\\' && i+1 < len(text):
			i++
			out.WriteByte(text[i])
		case text[i] == '"':
			inString = !inString
		}
	}
	return out.String()
}

func bareWord(text string) string {
	for _, word := range []string{"NaN", "Infinity", "-Infinity"} {
		if strings.HasPrefix(text, word) {
			return word
		}
	}
	return ""
}

// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

type cyclic struct {
	Next *cyclic `json:"next"`
}

// misbehaving is an endpoint of handlers whose results nobody can encode.
func misbehaving() *Endpoint {
	ep := computeEndpoint()
	results := map[string]func() any{
		"channel":    func() any { return make(chan int) },
		"function":   func() any { return func() {} },
		"in a map":   func() any { return map[string]any{"c": make(chan int)} },
		"struct NaN": func() any { return struct{ F float64 }{math.NaN()} },
		"cyclic": func() any {
			c := &cyclic{}
			c.Next = c
			return c
		},
		"cyclic map": func() any {
			m := map[string]any{}
			m["m"] = m
			return m
		},
	}
	for name, result := range results {
		ep.HandleFunc(name, func(context.Context, map[string]any) (any, error) { return result(), nil })
	}
	return ep
}

// What a caller sees of each request that is not as it should be, and what its server makes of
// it: rows of the table "what a Python server does with a request from a non-Python client".
func TestBadRequests(t *testing.T) {
	const unreadable = "ValueError: the request cannot be understood: "
	const noContext = "ValueError: the request context cannot be understood: "
	const noResult = "TypeError: the result cannot be encoded as JSON: "
	body := func(text string) *driver.Delivery {
		d := callOf("id", "", "{}")
		d.Body = []byte(text)
		return d
	}
	withContext := func(text string) *driver.Delivery {
		d := callOf("id", "echo", "{}")
		d.Context = []byte(text)
		return d
	}
	noID := callOf("", "echo", `{"a":1}`)
	noID.CallID = "id"
	tests := map[string]struct {
		d     *driver.Delivery
		reply string // how it begins; "" for none
		stats ServerStats
	}{
		"no method":           {body(`{"args":{}}`), unreadable + "the request has no method", ServerStats{Malformed: 1}},
		"method null":         {body(`{"method":null}`), unreadable + "the request has no method", ServerStats{Malformed: 1}},
		"method a number":     {body(`{"method":1}`), unreadable + "the request's method is not a string", ServerStats{Malformed: 1}},
		"no args":             {body(`{"method":"echo"}`), `{}`, ServerStats{Handled: 1}},
		"args null":           {body(`{"method":"echo","args":null}`), `{}`, ServerStats{Handled: 1}},
		"args a list":         {body(`{"method":"echo","args":[1]}`), unreadable + "the request's args are not an object", ServerStats{Malformed: 1}},
		"args a string":       {body(`{"method":"echo","args":"{}"}`), unreadable + "the request's args are not an object", ServerStats{Malformed: 1}},
		"NaN in args":         {body(`{"method":"echo","args":{"x":NaN}}`), `{"x": NaN}`, ServerStats{Handled: 1}},
		"NaN for a type":      {body(`{"method":"start_instance","args":{"instance_id":NaN}}`), "TypeError: start_instance(): ", ServerStats{Malformed: 1}},
		"unknown keys":        {body(`{"method":"echo","x":[{}],"args":{}}`), `{}`, ServerStats{Handled: 1}},
		"version null":        {body(`{"method":"echo","version":null,"namespace":null}`), `{}`, ServerStats{Handled: 1}},
		"version a number":    {body(`{"method":"echo","version":1.0}`), unreadable + "the request's version is not a string", ServerStats{Malformed: 1}},
		"no version at all":   {body(`{"method":"echo","version":"latest"}`), "UnsupportedVersion: ", ServerStats{Refused: 1}},
		"empty":               {body(``), unreadable, ServerStats{Malformed: 1}},
		"null":                {body(`null`), unreadable, ServerStats{Malformed: 1}},
		"a list":              {body(`[]`), unreadable, ServerStats{Malformed: 1}},
		"a string":            {body(`"{}"`), unreadable, ServerStats{Malformed: 1}},
		"broken":              {body(`{"method":"echo"`), unreadable, ServerStats{Malformed: 1}},
		"deep":                {body(`{"method":"echo","args":{"x":` + strings.Repeat("[", 1e5) + strings.Repeat("]", 1e5) + `}}`), unreadable, ServerStats{Malformed: 1}},
		"a private method":    {body(`{"method":"__init__"}`), "NoSuchMethod: ", ServerStats{Refused: 1}},
		"a long method":       {body(`{"method":"` + strings.Repeat("m", 1e5) + `"}`), "NoSuchMethod: ", ServerStats{Refused: 1}},
		"no unique id":        {noID, `{"a": 1}`, ServerStats{Handled: 1}},
		"context a list":      {withContext(`[1]`), noContext + "the arguments are not a JSON object", ServerStats{Malformed: 1}},
		"context a string":    {withContext(`"x"`), noContext, ServerStats{Malformed: 1}},
		"context broken":      {withContext(`{"a":`), noContext, ServerStats{Malformed: 1}},
		"context empty":       {withContext(`{}`), `{}`, ServerStats{Handled: 1}},
		"returns a channel":   {callOf("id", "channel", "{}"), noResult, ServerStats{Handled: 1}},
		"returns a function":  {callOf("id", "function", "{}"), noResult, ServerStats{Handled: 1}},
		"a channel in a map":  {callOf("id", "in a map", "{}"), noResult, ServerStats{Handled: 1}},
		"NaN in a struct":     {callOf("id", "struct NaN", "{}"), noResult, ServerStats{Handled: 1}},
		"a cycle of pointers": {callOf("id", "cyclic", "{}"), noResult, ServerStats{Handled: 1}},
		"a cycle of maps":     {callOf("id", "cyclic map", "{}"), noResult, ServerStats{Handled: 1}},
		"panics":              {callOf("id", "panic", "{}"), "Panic: panic: oops", ServerStats{Handled: 1, Failed: 1}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, nil, misbehaving())
			s.deliver(tt.d)
			if got := s.reply(t, "id"); !strings.HasPrefix(got, tt.reply) || len(got) > 1e6 {
				t.Errorf("replied %.200s", got)
			}
			tt.stats.Received = 1
			eventually(t, fmt.Sprintf("%+v, got %+v", tt.stats, s.server.Stats()), func() bool { return s.server.Stats() == tt.stats })
			for _, line := range s.log.all() {
				if len(line) > 10000 {
					t.Errorf("a record of %d bytes: %.300s", len(line), line)
				}
			}
		})
	}
}

// A call that says nothing of where to reply is run, as a cast is, and answered nowhere.
func TestCallWithoutReplyName(t *testing.T) {
	infos := make(chan RequestInfo, 1)
	ep := NewEndpoint(nil)
	ep.HandleFunc("m", func(ctx context.Context, _ map[string]any) (any, error) {
		info, _ := RequestInfoFrom(ctx)
		infos <- info
		return nil, nil
	})
	s := newStage(t, nil, ep)
	d := callOf("a", "m", "{}")
	d.ReplyTo, d.MonitorTimeout = "", time.Millisecond
	s.deliver(d)
	if info := wait(t, infos, "the handler"); info.Call {
		t.Errorf("%+v", info)
	}
	if err := s.server.Shutdown(t.Context()); err != nil || len(s.replies()) != 0 {
		t.Errorf("%v, %v", s.replies(), err)
	}
}

// A handler that never returns takes its slot, and nothing else; a shutdown cuts it.
func TestHandlerNeverReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		ep := echoEndpoint()
		ep.HandleFunc("never", func(context.Context, map[string]any) (any, error) { <-release; return nil, nil })
		s := newStage(t, &RPCServerOptions{Concurrency: 2}, ep)
		s.deliver(wanted(callOf("never", "never", "{}"), time.Second))
		time.Sleep(time.Minute)
		for i := range 10 {
			s.deliver(callOf(strconv.Itoa(i), "echo", "{}"))
			s.reply(t, strconv.Itoa(i))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		at := time.Now()
		if err := s.server.Shutdown(ctx); err != context.DeadlineExceeded {
			t.Error(err)
		}
		s.served <- <-s.served
		if took := time.Since(at); took > 10*time.Second || len(s.replies()) != 10 {
			t.Errorf("took %s, replied %v", took, s.replies())
		}
		if !strings.Contains(s.logged(), "left behind") {
			t.Error("not logged")
		}
		close(release)
		synctest.Wait()
		if got := s.server.Stats(); got.RepliesLost != 1 || got.Handled != 11 || got.Running != 0 {
			t.Errorf("%+v", got)
		}
	})
}

// A reply that nobody can receive is given up in the end, once, whether its name never was or
// vanished.
func TestReplyToNobody(t *testing.T) {
	for name, refusals := range map[string]int{"never was": 1 << 30, "comes back": 3} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tries := 0
				s := newStageOf(t, nil, func(*driver.Message) error {
					if tries++; tries <= refusals {
						return driver.Errorf(driver.ReasonNoRoute, "nobody")
					}
					return nil
				}, nil, echoEndpoint())
				s.deliver(wanted(callOf("a", "echo", "{}"), 20*time.Second))
				time.Sleep(time.Minute)
				synctest.Wait()
				got := s.server.Stats()
				if lost := uint64(1 - len(s.replies())); got.RepliesLost != lost || got.RepliesResent != 1 || tries > 20 {
					t.Errorf("%d tries, %v, %+v", tries, s.replies(), got)
				}
				if n := strings.Count(s.logged(), "reply not sent"); n != int(got.RepliesLost) {
					t.Errorf("logged %d times", n)
				}
			})
		})
	}
}

// A server that was stalled does not run what nobody waits for any more, whatever the clocks.
func TestStalledServer(t *testing.T) {
	for _, skew := range []time.Duration{0, time.Hour, -time.Hour} {
		t.Run(skew.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				left := make(chan time.Duration, 8)
				ep := NewEndpoint(nil)
				ep.HandleFunc("m", func(ctx context.Context, _ map[string]any) (any, error) {
					d, _ := ctx.Deadline()
					left <- time.Until(d)
					return nil, nil
				})
				s := newStage(t, nil, ep)
				send := func(id string, at time.Time) *driver.Delivery {
					d := wanted(callOf(id, "m", "{}"), time.Minute)
					d.Deadline = at.Add(skew + time.Minute).Round(0)
					return d
				}
				s.deliver(send("first", time.Now()))
				if got := <-left; got != time.Minute {
					t.Errorf("the first has %s", got)
				}
				time.Sleep(2 * time.Minute)
				s.deliver(send("dead", time.Now().Add(-90*time.Second)))
				s.deliver(send("alive", time.Now().Add(-20*time.Second)))
				if got := <-left; got != 40*time.Second {
					t.Errorf("what waited for 20 s has %s", got)
				}
				synctest.Wait()
				if got := s.server.Stats(); got.Expired != 1 || got.Handled != 2 || len(s.replies()) != 2 {
					t.Errorf("%+v %v", got, s.replies())
				}
				if n := strings.Count(s.logged(), `level=INFO msg="request dropped: its time is over" method=m message_id=dead`); n != 1 {
					t.Errorf("logged %d times: %s", n, s.logged())
				}
			})
		})
	}
}

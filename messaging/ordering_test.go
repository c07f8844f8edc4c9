// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// byKey orders by the argument "key".
func byKey(r *ServerRequest) string {
	var args struct {
		Key string `json:"key"`
	}
	if err := decodeInto(r.Args, &args); err != nil {
		return ""
	}
	return args.Key
}

// sequence notes what runs when.
type sequence struct {
	mu    sync.Mutex // guards notes
	notes []string
}

func (s *sequence) add(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notes = append(s.notes, fmt.Sprintf(format, args...))
}

func (s *sequence) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.notes)
}

// keyed is an endpoint whose method m takes a second.
func keyed(seq *sequence) *Endpoint {
	ep := NewEndpoint(nil)
	ep.HandleFunc("m", func(ctx context.Context, args map[string]any) (any, error) {
		seq.add("%v%v begins", args["key"], args["n"])
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		seq.add("%v%v ends", args["key"], args["n"])
		return args["n"], nil
	})
	ep.HandleFunc("goexit", func(context.Context, map[string]any) (any, error) { runtime.Goexit(); return nil, nil })
	return ep
}

func keyedCall(id, key string) *driver.Delivery {
	return callOf(id, "m", fmt.Sprintf(`{"key":%q,"n":%q}`, key, id))
}

func TestOrderBy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seq := &sequence{}
		s := newStage(t, &RPCServerOptions{OrderBy: byKey}, keyed(seq))
		began := time.Now()
		for i := range 5 {
			s.deliver(keyedCall(strconv.Itoa(i), "a"))
			s.deliver(keyedCall(strconv.Itoa(i+5), "b"))
			s.deliver(keyedCall(strconv.Itoa(i+10), ""))
		}
		synctest.Wait()
		if got := s.server.Stats().Running; got != 15 {
			t.Errorf("%d run or wait", got)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got := s.server.Stats().Running; got != 8 {
			t.Errorf("%d run or wait after a second", got)
		}
		for i := range 15 {
			s.reply(t, strconv.Itoa(i))
		}
		if took := time.Since(began).Round(time.Second); took != 5*time.Second {
			t.Errorf("took %s", took)
		}
		for _, key := range []string{"a", "b"} {
			notes := slices.DeleteFunc(seq.all(), func(n string) bool { return n[:1] != key })
			first := map[string]int{"a": 0, "b": 5}[key]
			for i := range 5 {
				n := strconv.Itoa(first + i)
				if notes[2*i] != key+n+" begins" || notes[2*i+1] != key+n+" ends" {
					t.Errorf("%s: %v", key, notes)
					break
				}
			}
		}
	})
}

// A busy key takes all slots; nothing more is taken from the broker then.
func TestOrderByIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seq := &sequence{}
		s := newStage(t, &RPCServerOptions{OrderBy: byKey, Concurrency: 3}, keyed(seq))
		for i := range 9 {
			s.deliver(keyedCall(strconv.Itoa(i), "a"))
		}
		synctest.Wait()
		if got := s.server.Stats(); got.Running != 3 || got.Received != 3 {
			t.Errorf("%+v", got)
		}
		for i := range 9 {
			s.reply(t, strconv.Itoa(i))
		}
		if got := s.server.Stats(); got.Handled != 9 {
			t.Errorf("%+v", got)
		}
	})
}

func TestOrderSurvivesAccidents(t *testing.T) {
	seq := &sequence{}
	ep := keyed(seq)
	ep.HandleFunc("panics", func(context.Context, map[string]any) (any, error) { panic("oops") })
	order := func(r *ServerRequest) string {
		if r.Method == "no_key" {
			panic("no key")
		}
		return "a"
	}
	s := newStage(t, &RPCServerOptions{OrderBy: order, Concurrency: 2}, ep)
	s.inbox <- []*driver.Delivery{callOf("1", "goexit", `{}`), callOf("2", "panics", `{}`)}
	s.inbox <- []*driver.Delivery{callOf("3", "no_key", `{}`), callOf("4", "nope", `{}`)}
	s.inbox <- []*driver.Delivery{callOf("5", "goexit", `{}`), callOf("6", "goexit", `{}`)}
	s.inbox <- []*driver.Delivery{callOf("7", "m", `[]`), keyedCall("8", "a")}
	for id, want := range map[string]string{
		"1": "errorString: the handler ended its goroutine", "2": "Panic: panic: oops",
		"3": "errorString: the key of its order cannot be had: panic: no key", "4": "NoSuchMethod: Endpoint does not support RPC method nope",
		"5": "errorString: the handler ended its goroutine", "6": "errorString: the handler ended its goroutine",
		"7": "ValueError: the request cannot be understood: the request's args are not an object", "8": `"8"`,
	} {
		if got := s.reply(t, id); got != want {
			t.Errorf("%s: %s", id, got)
		}
	}
	eventually(t, "nothing runs", func() bool { return s.server.Stats().Running == 0 })
}

// The time of a request runs while it waits for its turn, and its caller hears of it.
func TestWaitingForItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seq := &sequence{}
		s := newStage(t, &RPCServerOptions{OrderBy: byKey}, keyed(seq))
		s.deliver(keyedCall("1", "a"))
		late, monitored := wanted(keyedCall("late", "a"), 500*time.Millisecond), keyedCall("m", "a")
		monitored.MonitorTimeout = 400 * time.Millisecond
		s.deliver(late)
		s.deliver(monitored)
		s.reply(t, "m")
		if got := s.server.Stats(); got.Expired != 1 || got.Handled != 2 {
			t.Errorf("%+v", got)
		}
		replies := s.replies()
		if strings.Contains(strings.Join(seq.all(), ""), "late") || slices.ContainsFunc(replies, func(r string) bool { return strings.HasPrefix(r, "late") }) {
			t.Errorf("what was too late was run: %v %v", seq.all(), replies)
		}
		if i, first := slices.Index(replies, "m beat"), slices.Index(replies, `1 "1"`); i < 0 || i > first {
			t.Errorf("no heartbeat while it waits: %v", replies)
		}
	})
}

// What waits for its turn when the server is shut down was acknowledged, and is run.
func TestShutdownRunsWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seq := &sequence{}
		s := newStage(t, &RPCServerOptions{OrderBy: byKey}, keyed(seq))
		for i := range 4 {
			s.deliver(keyedCall(strconv.Itoa(i), "a"))
		}
		s.mu.Lock()
		s.rest = []*driver.Delivery{keyedCall("4", "a"), keyedCall("5", "b")}
		s.mu.Unlock()
		synctest.Wait()
		if err := s.server.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if got := s.server.Stats(); got.Handled != 6 || got.Failed != 0 || got.Running != 0 || len(s.replies()) != 6 {
			t.Errorf("%+v, %v", got, s.replies())
		}
	})
}

// When the server loses patience, what has not begun is answered without being run.
func TestShutdownCutsWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seq := &sequence{}
		s := newStage(t, &RPCServerOptions{OrderBy: byKey}, keyed(seq))
		for i := range 3 {
			s.deliver(keyedCall(strconv.Itoa(i), "a"))
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := s.server.Shutdown(ctx); err != context.DeadlineExceeded {
			t.Error(err)
		}
		for _, id := range []string{"1", "2"} {
			if got := s.reply(t, id); got != "sentinel: messaging: server closed" {
				t.Errorf("%s: %s", id, got)
			}
		}
		if notes := seq.all(); len(notes) != 1 {
			t.Errorf("%v", notes)
		}
	})
}

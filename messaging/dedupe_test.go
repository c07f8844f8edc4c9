// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

func jobOf(id string, token uint64) *inProgress {
	return &inProgress{delivery: withToken(callOf(id, "m", "{}"), token)}
}

func answerOf(id, body string) keptAnswer {
	return keptAnswer{replyTo: "caller", callID: id, uniqueID: "r-" + id, body: []byte(body)}
}

func TestDedupe(t *testing.T) {
	start := time.Now()
	d := newDedupe(3, time.Minute)
	look := func(id string, after time.Duration, want seenState) keptAnswer {
		t.Helper()
		got, a := d.lookUp(callOf(id, "m", "{}"), start.Add(after))
		if got != want {
			t.Errorf("%q after %s: %v, want %v", id, after, got, want)
		}
		return a
	}
	handle := func(id string, after time.Duration) {
		t.Helper()
		look(id, after, seenNever)
		j := jobOf(id, 0)
		d.begin(j)
		look(id, after, map[bool]seenState{true: seenRunning, false: seenNever}[id != ""])
		d.end(j, answerOf(id, "1"), start.Add(after))
	}
	handle("", 0)
	handle("", 0)
	handle("a", 0)
	if a := look("a", time.Second, seenDone); string(a.body) != "1" || a.uniqueID != "r-a" {
		t.Errorf("answer %+v", a)
	}
	handle("a", 2*time.Minute) // it was too old
	handle("b", 2*time.Minute)
	handle("c", 2*time.Minute)
	look("a", 2*time.Minute, seenDone)
	handle("d", 2*time.Minute) // pushes a out
	handle("a", 2*time.Minute) // pushes b out
	look("c", 2*time.Minute, seenDone)

	// What is being handled neither ages nor makes room.
	running := jobOf("running", 7)
	d.begin(running)
	for i := range 1000 {
		handle(strconv.Itoa(i), 2*time.Minute)
		if len(d.done) > 3 {
			t.Fatalf("the window grew to %d", len(d.done))
		}
	}
	look("running", time.Hour, seenRunning)
	if n, _ := d.lookUp(withToken(callOf("running", "m", "{}"), 8), start); n != seenRunning {
		t.Errorf("running: %v", n)
	}
	if got := d.forget(running); !slices.Equal(got, []uint64{8}) {
		t.Errorf("duplicates %v", got)
	}
	handle("running", time.Hour)
	if len(d.done) != 1 || len(d.running) != 0 {
		t.Errorf("%d ids outlived their time, %d run", len(d.done), len(d.running))
	}
}

// A kept answer is for the caller that got it, and for no other.
func TestKeptAnswerIsTheCallersOwn(t *testing.T) {
	d := newDedupe(3, time.Minute)
	j := jobOf("a", 0)
	d.begin(j)
	d.end(j, answerOf("a", "1"), time.Now())
	for name, change := range map[string]func(*driver.Delivery){
		"another caller": func(d *driver.Delivery) { d.ReplyTo = "other" },
		"another call":   func(d *driver.Delivery) { d.CallID = "other" },
		"a cast":         func(d *driver.Delivery) { d.ReplyTo, d.CallID = "", "" },
	} {
		m := callOf("a", "m", "{}")
		change(m)
		if state, a := d.lookUp(m, time.Now()); state != seenDone || a.size() != 0 {
			t.Errorf("%s: %v %+v", name, state, a)
		}
	}
}

func TestKeptAnswersAreBounded(t *testing.T) {
	now := time.Now()
	d := newDedupe(4096, time.Minute)
	add := func(id string, size int) {
		j := jobOf(id, 0)
		d.begin(j)
		d.end(j, answerOf(id, strings.Repeat("x", size)), now)
	}
	kept := func(id string) bool {
		_, a := d.lookUp(callOf(id, "m", "{}"), now)
		return a.size() > 0
	}
	add("large", maxKeptAnswer+1)
	add("fits", maxKeptAnswer)
	if kept("large") || !kept("fits") {
		t.Error("the bound of one answer")
	}
	for i := range maxKeptAnswers / maxKeptAnswer {
		add(strconv.Itoa(i), maxKeptAnswer)
	}
	if kept("fits") || !kept("0") || d.kept != maxKeptAnswers {
		t.Errorf("the bound of all: %d bytes", d.kept)
	}
	for i := range 3 * 4096 {
		add("small"+strconv.Itoa(i), 1000)
		if d.kept > maxKeptAnswers || d.kept < 0 {
			t.Fatalf("%d bytes are kept", d.kept)
		}
	}
	total := 0
	for i := range d.ring {
		total += d.ring[i].answer.size()
	}
	if total != d.kept {
		t.Errorf("%d bytes are kept, %d counted", total, d.kept)
	}
	add("last", 1)
	d.lookUp(callOf("x", "m", "{}"), now.Add(time.Hour))
	if d.kept != 0 || len(d.done) != 0 {
		t.Errorf("%d bytes outlived their time", d.kept)
	}
}

func TestDedupeConcurrently(t *testing.T) {
	d := newDedupe(64, time.Minute)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 2000 {
				id := fmt.Sprint(w, "-", i)
				j := jobOf(id, 0)
				d.begin(j)
				d.lookUp(withToken(callOf(id, "m", "{}"), uint64(i)), time.Now())
				if i%3 == 0 {
					d.forget(j)
				} else {
					d.end(j, answerOf(id, "x"), time.Now())
				}
			}
		})
	}
	wg.Wait()
	if len(d.running) != 0 || len(d.done) > 64 {
		t.Errorf("%d running, %d done", len(d.running), len(d.done))
	}
}

// A request that comes again is not run again; its caller is answered again.
func TestRepeatedRequests(t *testing.T) {
	release := make(chan struct{})
	ran := make(chan string, 8)
	ep := NewEndpoint(nil)
	ep.HandleFunc("slow", func(_ context.Context, args map[string]any) (any, error) {
		ran <- fmt.Sprint(args["n"])
		<-release
		return args["n"], nil
	})
	s := newStage(t, nil, ep)
	s.deliver(callOf("a", "slow", `{"n":1}`))
	wait(t, ran, "the handler")
	s.deliver(callOf("a", "slow", `{"n":2}`)) // while it runs
	eventually(t, "the duplicate is dropped", func() bool { return s.server.Stats().Duplicates == 1 })
	close(release)
	if got := s.reply(t, "a"); got != "1" {
		t.Errorf("reply %s", got)
	}
	s.deliver(callOf("a", "slow", `{"n":3}`)) // when it is done
	eventually(t, "the second copy of the reply", func() bool { return len(s.replies()) == 2 })
	stranger := callOf("a", "slow", `{"n":4}`)
	stranger.ReplyTo = "stranger"
	s.deliver(stranger)
	eventually(t, "the stranger's is dropped", func() bool { return s.server.Stats().Duplicates == 3 })
	s.mu.Lock()
	sent := slices.Clone(s.sent)
	s.mu.Unlock()
	if len(sent) != 2 || sent[0].UniqueID != sent[1].UniqueID || string(sent[1].Body) != "1" || sent[1].ReplyTo != "caller" || sent[1].TimeLeft <= 0 {
		t.Errorf("sent %+v", sent)
	}
	stats := s.server.Stats()
	if len(ran) != 0 || stats.Handled != 1 || stats.RepliesResent != 1 || stats.Received != 4 || stats.Running != 0 {
		t.Errorf("ran %d more; %+v", len(ran), stats)
	}
}

// The window is as large as it was asked for, however small it began.
func TestDedupeGrows(t *testing.T) {
	const size = 1000
	d := newDedupe(size, time.Hour)
	now := time.Now()
	id := func(n int) *driver.Delivery {
		return &driver.Delivery{Message: driver.Message{UniqueID: strconv.Itoa(n)}}
	}
	for n := range 3 * size {
		j := &inProgress{delivery: id(n)}
		d.begin(j)
		d.end(j, keptAnswer{}, now)
	}
	for n := range 3 * size {
		want := seenNever
		if n >= 2*size {
			want = seenDone
		}
		if got, _ := d.lookUp(id(n), now); got != want {
			t.Fatalf("message %d of %d: %v, want %v", n, 3*size, got, want)
		}
	}
}

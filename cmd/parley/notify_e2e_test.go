// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// listen starts parley listen; status is what it has to end with.
func (p *program) listen(t *testing.T, status int, args ...string) *server {
	t.Helper()
	return p.start(t, &server{status: status}, append([]string{"listen"}, args...)...)
}

// heard waits for the end of a listener and reads its lines.
func (s *server) heard(t *testing.T, p *program) []shownNotification {
	t.Helper()
	s.wait(t, p)
	return notificationsOf(t, s.stdout.String())
}

func notificationsOf(t *testing.T, output string) []shownNotification {
	t.Helper()
	var all []shownNotification
	for line := range strings.Lines(output) {
		var n shownNotification
		if err := json.Unmarshal([]byte(line), &n); err != nil {
			t.Errorf("%v: %s", err, line)
		}
		all = append(all, n)
	}
	return all
}

func eventTypes(all []shownNotification) []string {
	var names []string
	for _, n := range all {
		names = append(names, n.EventType)
	}
	return names
}

// testNotifications is what holds on every wire where applications meet. away are arguments of notify
// with which nobody takes a notification.
func testNotifications(t *testing.T, p *program, url string, away ...string) {
	t.Run("notify and listen", func(t *testing.T) { testNotifyListen(t, p) })
	t.Run("notify lines", func(t *testing.T) { testNotifyLines(t, p) })
	t.Run("interrupted notify", func(t *testing.T) { testInterruptedLines(t, p) })
	t.Run("notify with a spool", func(t *testing.T) { testNotifySpool(t, p, away) })
	t.Run("pools and filters", func(t *testing.T) { testPoolsAndFilters(t, p) })
	t.Run("ends of listen", func(t *testing.T) { testListenEnds(t, p) })
	t.Run("bench notify", func(t *testing.T) {
		q := *p
		testBenchNotify(t, &q, url, cpuClient, cpuClientDriver, cpuListener, cpuListenerDriver)
	})
}

func testNotifyListen(t *testing.T, p *program) {
	l := p.listen(t, exitDone, "--topic", "one", "--topic", "two", "--exchange", "ex", "--count", "3")
	notify := func(args ...string) []string { return append([]string{"notify", "--exchange", "ex"}, args...) }
	p.expect(t, exitDone, "", notify("--topic", "one", "--publisher-id", "compute.host1", "--format", "1.0",
		"--context", `{"user_id": "u-1", "auth_token": "t"}`, "--header", "k=v", "instance.create", "id=7", "n:=12345678901234567890123")...)
	got := p.run(t, notify("--topic", "one", "--topic", "two", "--priority", "ERROR", "-o", "json")...)
	var sent sentNotification
	if err := json.Unmarshal([]byte(got.stdout), &sent); err != nil || got.status != exitDone || sent.MessageID == "" {
		t.Errorf("got %+v, %v", got, err)
	}
	all := l.heard(t, p)
	if len(all) != 3 {
		t.Fatalf("got %+v", all)
	}
	n := all[0]
	if n.PublisherID != "compute.host1" || n.EventType != "instance.create" || n.Priority != "info" || n.MessageID == "" ||
		string(n.Payload) != `{"id": "7", "n": 12345678901234567890123}` || n.Redelivered || n.Headers["k"] != "v" {
		t.Errorf("got %+v: %s", n, n.Payload)
	}
	if n.Timestamp == nil || time.Since(*n.Timestamp).Abs() > e2eTimeout {
		t.Errorf("it is from %v", n.Timestamp)
	}
	if len(n.Context) != 1 || n.Context["user_id"] != "u-1" {
		t.Errorf("the context is %v", n.Context)
	}
	for _, n := range all[1:] {
		if n.EventType != defaultEventType || n.Priority != "error" || n.MessageID != sent.MessageID || !strings.HasPrefix(n.PublisherID, "parley.") {
			t.Errorf("got %+v, sent %s", n, sent.MessageID)
		}
	}
}

func testNotifyLines(t *testing.T, p *program) {
	const many = 200
	l := p.listen(t, exitDone, "--topic", "lines", "--count", "200")
	var input strings.Builder
	for i := range many {
		say(&input, "{\"i\": %d}\n", i)
	}
	cmd := exec.Command(p.path, "notify", "--topic", "lines", "--lines", "-o", "json", "row")
	cmd.Env, cmd.Stdin = p.env, strings.NewReader(input.String())
	ids, err := cmd.Output()
	if err != nil || bytes.Count(ids, []byte("message_id")) != many {
		t.Errorf("%v: %s", err, ids)
	}
	for i, n := range l.heard(t, p) {
		if want := "{\"i\": " + strconv.Itoa(i) + "}"; string(n.Payload) != want {
			t.Fatalf("number %d is %s", i, n.Payload)
		}
	}
}

// testInterruptedLines: who waits for input ends all the same.
func testInterruptedLines(t *testing.T, p *program) {
	l := p.listen(t, exitDone, "--topic", "typed", "--count", "1")
	cmd := exec.Command(p.path, "notify", "--topic", "typed", "--lines", "row")
	cmd.Env = p.env
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(e2eTimeout, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	if _, err := io.WriteString(input, "\"one\"\n"); err != nil {
		t.Error(err)
	}
	if all := l.heard(t, p); len(all) != 1 || string(all[0].Payload) != `"one"` {
		t.Errorf("got %+v", all)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // its status is what is looked at
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted {
		t.Errorf("it ended with status %d", code)
	}
}

// testNotifySpool: what nobody takes waits on disk, and the next notify sends it first.
func testNotifySpool(t *testing.T, p *program, away []string) {
	dir := filepath.Join(t.TempDir(), "spool")
	notify := func(args ...string) []string {
		return append([]string{"notify", "--topic", "spooled", "--spool", dir}, args...)
	}
	got := p.expect(t, exitDone, "", notify(append(slices.Clone(away), "--timeout", "1s", "first")...)...)
	if !strings.Contains(got.stderr, "waiting in "+dir+": 1;") {
		t.Errorf("got %s", got.stderr)
	}
	l := p.listen(t, exitDone, "--topic", "spooled", "--count", "2")
	if got := p.expect(t, exitDone, "", notify("second")...); got.stderr != "" {
		t.Errorf("got %s", got.stderr)
	}
	if got := eventTypes(l.heard(t, p)); !slices.Equal(got, []string{"first", "second"}) {
		t.Errorf("got %v", got)
	}
}

func testPoolsAndFilters(t *testing.T, p *program) {
	listen := func(count string, args ...string) *server {
		return p.listen(t, exitDone, append([]string{"--topic", "pools", "--count", count}, args...)...)
	}
	all := listen("4", "--pool", "pool-all")
	some := listen("2", "--pool", "pool-some", "--event-type", "disk", "--payload", "host=a|b")
	urgent := listen("1", "--pool", "pool-urgent", "--priority", "error,critical")
	of := listen("1", "--pool", "pool-publisher", "--publisher-id", "db", "--context-filter", "user_id=u", "--metadata", "timestamp=20")
	notify := func(args ...string) {
		p.expect(t, exitDone, "", append([]string{"notify", "--topic", "pools"}, args...)...)
	}
	notify("disk.full", "host=a1")
	notify("--publisher-id", "dbx", "--context", `{"user_id": "u-1"}`, "net.down", "host=a1")
	notify("disk.slow", "host=c1")
	notify("--priority", "error", "disk.dead", "host=b1")
	for _, test := range []struct {
		l    *server
		want []string
	}{
		{all, []string{"disk.dead", "disk.full", "disk.slow", "net.down"}},
		{some, []string{"disk.dead", "disk.full"}},
		{urgent, []string{"disk.dead"}}, {of, []string{"net.down"}},
	} {
		got := eventTypes(test.l.heard(t, p))
		slices.Sort(got) // priorities come by ways of their own
		if !slices.Equal(got, test.want) {
			t.Errorf("%v got %v, want %v", test.l.cmd.Args[1:], got, test.want)
		}
	}
	p.expect(t, exitUsage, "", "listen", "--topic", "pools", "--event-type", "(")
	p.expect(t, exitUsage, "", "listen", "--topic", "pools", "--pool", "pools.info")
}

// testListenEnds has the exit statuses of listen.
func testListenEnds(t *testing.T, p *program) {
	p.expect(t, exitDone, "", "listen", "--topic", "ends", "--for", "100ms")
	got := p.expect(t, exitNoReply, "", "listen", "-o", "json", "--topic", "ends", "--for", "100ms", "--count", "1")
	if f := failureOf(t, got); f.Code != "no_reply" || !strings.Contains(f.Message, "0 of 1 notifications came in 100ms") {
		t.Errorf("got %+v", f)
	}
	text := p.run(t, "listen", "--topic", "ends", "--for", "100ms", "--priority", "warn").stderr
	if !strings.HasPrefix(text, "parley: listening to ends (warn) at ") || !strings.Contains(text, "taken from other listeners") {
		t.Errorf("got %s", text)
	}
	p.listen(t, exitDone, "--topic", "ends").stop(t, p)
	l := p.listen(t, exitInterrupted, "--topic", "ends", "--count", "1")
	if err := l.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	l.wait(t, p)
}

// testStoredNotifications: with a broker nothing is lost while nobody listens, and what a listener
// does not want any more is left to others.
func testStoredNotifications(t *testing.T, p *program) {
	p.expect(t, exitDone, "", "listen", "--topic", "stored", "--for", "100ms") // makes the queues
	notify := func(eventType string) { p.expect(t, exitDone, "", "notify", "--topic", "stored", eventType) }
	for _, eventType := range []string{"1", "2", "3", "4", "5"} {
		notify(eventType)
	}
	if got := eventTypes(p.listen(t, exitDone, "--topic", "stored", "--count", "2").heard(t, p)); !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("got %v", got)
	}
	if got := eventTypes(p.listen(t, exitDone, "--topic", "stored", "--count", "3").heard(t, p)); !slices.Equal(got, []string{"3", "4", "5"}) {
		t.Errorf("got %v", got)
	}
	p.listenBroken(t, func() { notify("6") })
	got := p.listen(t, exitDone, "--topic", "stored", "--count", "1").heard(t, p)
	if len(got) != 1 || got[0].EventType != "6" || !got[0].Redelivered {
		t.Errorf("got %+v", got)
	}
	text := p.run(t, "listen", "--topic", "stored", "--for", "100ms", "-o", "json")
	if text.status != exitDone || text.stdout != "" {
		t.Errorf("got %+v", text)
	}
}

// listenBroken listens with a standard output that nobody reads, until the first notification.
func (p *program) listenBroken(t *testing.T, notify func()) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(p.path, "listen", "--topic", "stored", "-o", "json")
	cmd.Env, cmd.Stdout = p.env, w
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.Close(), w.Close()); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(e2eTimeout, func() { _ = cmd.Process.Signal(syscall.SIGKILL) })
	defer timer.Stop()
	first := make([]byte, 1)
	if _, err := io.ReadFull(stderr, first); err != nil { // the line that says that it listens
		t.Error(err)
	}
	notify()
	rest, err := io.ReadAll(stderr)
	if err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v: %s", err, rest)
	}
}

func testBenchNotify(t *testing.T, p *program, url string, processes ...string) {
	p.env = append(slices.Clone(p.env), urlVariable+"="+url)
	got := p.run(t, "bench", "notify", "-o", "json", "--with-listener", "--notifications", "200", "--in-flight", "4", "--warm-up", "50ms")
	var f notifyFigures
	if err := json.Unmarshal([]byte(got.stdout), &f); err != nil || got.status != exitDone {
		t.Fatalf("got %+v, %v", got, err)
	}
	if f.Notifications != 200 || len(f.Errors) != 0 || f.PerSecond <= 0 || f.Latency.P50 <= 0 {
		t.Errorf("got %+v", f)
	}
	for _, name := range processes {
		if _, ok := f.CPUSeconds[name]; !ok {
			t.Errorf("no processor time of %s in %v", name, f.CPUSeconds)
		}
	}
	if got.stderr != "" {
		t.Errorf("standard error is not quiet: %s", got.stderr)
	}
}

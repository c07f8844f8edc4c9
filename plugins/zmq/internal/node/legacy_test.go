// SPDX-License-Identifier: Apache-2.0

package node

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/zmq/internal/legacy"
	"github.com/parleymq/parley/plugins/zmq/internal/registry"
)

// peer8 is testdata/peer8.py.
type peer8 struct {
	*world
	in    io.WriteCloser
	lines chan string
}

func (w *world) peer8(args ...string) *peer8 {
	w.Helper()
	var cmd *exec.Cmd
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	cmd = peertest.OsloZmqCommand(ctx, w, "testdata/peer8.py", args...)
	stderr := new(bytes.Buffer)
	cmd.Stderr = stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		w.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		w.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		w.Fatal(err)
	}
	p := &peer8{world: w, in: in, lines: make(chan string, 1000)}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for s := bufio.NewScanner(out); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	w.Cleanup(func() {
		defer cancel()
		_ = in.Close()
		<-read
		if err := cmd.Wait(); err != nil {
			w.Errorf("%v: %s", err, stderr)
		}
	})
	return p
}

func (p *peer8) line() string {
	p.Helper()
	select {
	case line := <-p.lines:
		return line
	case <-time.After(testWait):
		p.Fatal("the peer of 8.1.4 says nothing")
		return ""
	}
}

func (p *peer8) silent(d time.Duration) {
	p.Helper()
	select {
	case line := <-p.lines:
		p.Errorf("the peer of 8.1.4 says %s", line)
	case <-time.After(d):
	}
}

func (p *peer8) send(frames [][]byte) {
	p.Helper()
	var digits []string
	for _, f := range frames {
		digits = append(digits, hex.EncodeToString(f))
	}
	text, err := json.Marshal(digits)
	if err != nil {
		p.Fatal(err)
	}
	if _, err := p.in.Write(append(text, '\n')); err != nil {
		p.Fatal(err)
	}
}

func (p *peer8) frames() [][]byte {
	p.Helper()
	var digits []string
	if err := json.Unmarshal([]byte(p.line()), &digits); err != nil {
		p.Fatal(err)
	}
	var frames [][]byte
	for _, d := range digits {
		f, err := hex.DecodeString(d)
		if err != nil {
			p.Fatal(err)
		}
		frames = append(frames, f)
	}
	return frames
}

// golden is what 8.1.4 sent once, see package legacy.
func golden(t *testing.T, name string) [][]byte {
	t.Helper()
	text, err := os.ReadFile("../legacy/testdata/8.1.4/" + name + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	var frames [][]byte
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f, err := strconv.Unquote(strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		frames = append(frames, []byte(f))
	}
	return frames
}

// TestLegacyClient: a client of 8.1.4 calls a server here, and casts, tells and notifies it.
func TestLegacyClient(t *testing.T) {
	w := newWorld(t)
	n := w.open()
	l, events := w.listen(n, server("t", "s")), w.listen(n, notifications("events", ""))
	p := w.peer8("dealer", n.endpoints[0])
	call := golden(t, "call")
	p.send(call)
	d := w.poll(l)
	if d.Kind != driver.Call || d.CallID != string(call[3]) || d.UniqueID != d.CallID || !strings.Contains(string(d.Body), `"echo"`) || !strings.Contains(string(d.Context), `"roles"`) {
		t.Errorf("got %+v", d)
	}
	w.done(l, d, driver.Accepted)
	w.mustSend(n, &driver.Message{Kind: driver.Heartbeat, ReplyTo: d.ReplyTo, CallID: d.CallID}) // they know none
	answer := reply(d.ReplyTo, d.CallID)
	answer.Body = d.Body
	answer.Mandatory = true
	w.mustSend(n, answer)
	id, body, failure, err := legacy.DecodeReply(p.frames())
	if err != nil || id != d.CallID || string(body) != string(d.Body) || failure != nil {
		t.Errorf("the reply: %s, %s, %s, %v", id, body, failure, err)
	}
	for _, name := range []string{"cast", "fanout"} {
		p.send(golden(t, name))
		if d := w.poll(l); d.Kind != driver.Cast || d.ReplyTo != "" || !strings.Contains(string(d.Body), `"echo"`) {
			t.Errorf("%s: %+v", name, d)
		}
	}
	p.send(golden(t, "notify"))
	if d := w.poll(events); d.Kind != driver.Notification || d.Priority != "info" || !strings.Contains(string(d.Body), `"a.b"`) {
		t.Errorf("notify: %+v", d)
	}
	p.silent(20 * time.Millisecond)
	p.send(golden(t, "call_msgpack")) // which is refused, with the connection
	w.until("it is logged", func() bool { return w.log.has("msgpack") > 0 })
	p.send(call)
	w.done(l, w.poll(l), driver.Accepted)
	w.idle(n)
}

// TestLegacyAim: what a request of 8.x is for is not in it. It is taken when only one listener can
// be meant.
func TestLegacyAim(t *testing.T) {
	for _, tt := range []struct {
		name    string
		sources []driver.Source
		frames  string
		taken   int // copies
	}{
		{"nobody", nil, "cast", 0},
		{"one server", []driver.Source{server("t", "s")}, "cast", 1},
		{"a server and others", []driver.Source{server("t", "s"), replies("r"), notifications("t", "")}, "cast", 1},
		{"two servers of one topic", []driver.Source{server("t", "a"), server("t", "b")}, "cast", 1},
		{"a fanout to two servers of one topic", []driver.Source{server("t", "a"), server("t", "b")}, "fanout", 2},
		{"two topics", []driver.Source{server("t", "s"), server("u", "s")}, "cast", 0},
		{"a call to two topics", []driver.Source{server("t", "s"), server("u", "s")}, "call", 0},
		{"a notification and no listener", []driver.Source{server("t", "s")}, "notify", 0},
		{"a notification", []driver.Source{server("t", "s"), notifications("t", "")}, "notify", 1},
		{"a notification to a pool", []driver.Source{notifications("t", "p")}, "notify", 1},
		{"a notification to two pools", []driver.Source{notifications("t", "p"), notifications("t", "q"), notifications("t", "")}, "notify", 3},
		{"a notification to two topics", []driver.Source{notifications("t", ""), notifications("u", "")}, "notify", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			n := w.open()
			var listeners []*Listener
			for _, src := range tt.sources {
				listeners = append(listeners, w.listen(n, src))
			}
			s := w.dial(n, "")
			if err := s.conn.Send(golden(t, tt.frames)); err != nil {
				t.Fatal(err)
			}
			count := func() int {
				n.mu.Lock()
				defer n.mu.Unlock()
				total := 0
				for _, l := range listeners {
					total += l.ready.len()
				}
				return total
			}
			w.until("it is taken or refused", func() bool {
				return count() == tt.taken && (tt.taken > 0 || w.log.has("names no target") == 1)
			})
			if tt.taken > 0 && w.log.has("names no target") != 0 {
				t.Error("it was taken, and the log says that it was not")
			}
		})
	}
}

// TestLegacyServer: a node calls a server of 8.1.4, casts, tells and notifies it.
func TestLegacyServer(t *testing.T) {
	w := newWorld(t)
	p := w.peer8("router")
	var endpoint string
	if err := json.Unmarshal([]byte(p.line()), &endpoint); err != nil {
		t.Fatal(err)
	}
	w.memory.put(strangerID(1), &registry.Record{
		Node: strangerID(1), Version: 1, Legacy: true, Endpoints: []string{endpoint},
		Targets: []registry.Target{
			{Kind: driver.SourceServer, Topic: "t"}, {Kind: driver.SourceServer, Topic: "t", Server: "s"},
			{Kind: driver.SourceNotifications, Topic: "t", Priority: "info"},
		},
	})
	n := w.open()
	w.knows(n, "t", 1)
	l := w.listen(n, replies("r"))
	call := func(id, method string) *driver.Delivery {
		m := cast("t", id)
		m.Kind, m.ReplyTo, m.CallID, m.Body, m.Mandatory = driver.Call, "r", "call-"+id, []byte(`{"method": "`+method+`", "args": {}}`), true
		w.mustSend(n, m)
		if line := p.line(); !strings.Contains(line, `"`+method+`"`) || !strings.Contains(line, `"call": true`) {
			t.Errorf("it got %s", line)
		}
		d := w.poll(l)
		w.done(l, d, driver.Accepted)
		return d
	}
	if d := call("1", "echo"); d.Kind != driver.Reply || d.CallID != "call-1" || !strings.Contains(string(d.Body), `"echo"`) || len(d.Failure) != 0 {
		t.Errorf("got %+v", d)
	}
	if d := call("2", "fail"); d.CallID != "call-2" || !strings.Contains(string(d.Failure), "ValueError") {
		t.Errorf("got %+v", d)
	}
	for _, m := range []*driver.Message{cast("t", "3"), fanoutTo("t", "4"), notify("t", "5")} {
		m.Body = []byte(`{"method": "no ` + m.UniqueID + `"}`)
		if m.Kind == driver.Notification {
			m.Body = []byte(`{"event_type": "no 5", "priority": "INFO"}`)
		}
		w.mustSend(n, m)
		if line := p.line(); !strings.Contains(line, `"no `+m.UniqueID+`"`) || !strings.Contains(line, `"call": false`) {
			t.Errorf("it got %s", line)
		}
	}
	m := cast("t", "6")
	m.Target.Server, m.Mandatory = "s", true
	w.mustSend(n, m)
	p.line()
	p.silent(20 * time.Millisecond)
	w.idle(n)
}

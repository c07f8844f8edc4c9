// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

// pythonSaw counts how often a server was told to record a "what". What it recorded before is
// left out by asking for one "what" at a time.
func pythonSaw(t *testing.T, s *peertest.PythonServer, what string) int {
	t.Helper()
	return len(pythonRecords(t, s, what))
}

func pythonRecords(t *testing.T, s *peertest.PythonServer, what string) (found []peertest.Record) {
	t.Helper()
	records, err := s.Received(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		var args struct{ What string }
		if err := json.Unmarshal(r.Args, &args); err != nil {
			t.Fatal(err)
		}
		if args.What == what {
			found = append(found, r)
		}
	}
	return found
}

func (r *recorder) saw(what string) int { return len(r.recorded(what)) }

func (r *recorder) recorded(what string) (found []record) {
	for _, rec := range r.all() {
		if rec.args["what"] == what {
			found = append(found, rec)
		}
	}
	return found
}

// counts asks every server, by name.
type counts map[string]func() int

// want waits until each server has seen as much as is wanted, and no more than that.
func (c counts) want(t *testing.T, want map[string]int) {
	t.Helper()
	got := make(map[string]int)
	reached := testbed.Wait(patience, func() bool {
		enough := true
		for name, count := range c {
			got[name] = count()
			enough = enough && got[name] >= want[name]
		}
		return enough
	})
	if !reached || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("received %v, want %v", got, want)
	}
}

func (p *peers) pythonCounts(t *testing.T, what string) counts {
	return counts{
		"py1": func() int { return pythonSaw(t, p.pythonServers["py1"], what) },
		"py2": func() int { return pythonSaw(t, p.pythonServers["py2"], what) },
	}
}

func (p *peers) goCounts(what string) counts {
	return counts{
		"go1": func() int { return p.goServers["go1"].saw(what) },
		"go2": func() int { return p.goServers["go2"].saw(what) },
	}
}

// both counts what two servers have seen together: who of them it was, is left to the broker.
func (c counts) both() counts {
	return counts{"both": func() int {
		n := 0
		for _, count := range c {
			n += count()
		}
		return n
	}}
}

func note(what string) map[string]any { return map[string]any{"what": what} }

// goCast casts n times.
func goCast(t *testing.T, c *messaging.RPCClient, what string, n int, opts ...messaging.CallOption) {
	t.Helper()
	for range n {
		if err := c.With(opts...).Cast(soon(t), "record", note(what)); err != nil {
			t.Fatal(err)
		}
	}
}

// testGoCasts casts to one server, and to any. Each kind is received as often as it was sent.
func testGoCasts(t *testing.T, p *peers) {
	goCast(t, p.goClient, "direct", 2, messaging.Server("py1"))
	goCast(t, p.goClient, "any", 6)
	goCast(t, p.goClient, "namespaced", 1, messaging.Server("py2"), messaging.Namespace("ns1"), messaging.Version("1.1"))
	p.pythonCounts(t, "direct").want(t, map[string]int{"py1": 2, "py2": 0})
	p.pythonCounts(t, "any").both().want(t, map[string]int{"both": 6})
	p.pythonCounts(t, "namespaced").want(t, map[string]int{"py1": 0, "py2": 1})
	if r := pythonRecords(t, p.pythonServers["py2"], "namespaced"); len(r) != 1 || r[0].Endpoint != "ns1/1.5" {
		t.Errorf("recorded %+v", r)
	}
}

// testGoFansOut casts to all servers of Python, and to servers of both languages.
func testGoFansOut(t *testing.T, p *peers) {
	goCast(t, p.goClient, "fanout", 3, messaging.Fanout())
	p.pythonCounts(t, "fanout").want(t, map[string]int{"py1": 3, "py2": 3})
	t.Run("to Python and Go", func(t *testing.T) {
		r := goServer(t, p.calling, pythonTopic, "go3")
		goCast(t, p.goClient, "mixed", 1, messaging.Fanout())
		all := p.pythonCounts(t, "mixed")
		all["go3"] = func() int { return r.saw("mixed") }
		all.want(t, map[string]int{"py1": 1, "py2": 1, "go3": 1})
		testAddressing(t, goAsks(t, p.goClient), "py1", "py2", "go3")
	})
	p.pythonCounts(t, "fanout").want(t, map[string]int{"py1": 3, "py2": 3})
}

// pythonCast casts n times, by one of the client's methods.
func pythonCast(t *testing.T, cast func(peertest.Request) error, what string, n int, r peertest.Request) {
	t.Helper()
	r.Topic, r.Method, r.Args, r.Ctxt = goTopic, "record", note(what), map[string]any{"user": "alice"}
	for range n {
		if err := cast(r); err != nil {
			t.Fatal(err)
		}
	}
}

func testPythonCasts(t *testing.T, p *peers) {
	cast := func(r peertest.Request) error { return p.pythonClient.Cast(soon(t), r) }
	pythonCast(t, cast, "direct", 2, peertest.Request{Server: "go1"})
	pythonCast(t, cast, "any", 6, peertest.Request{})
	pythonCast(t, cast, "namespaced", 1, peertest.Request{Server: "go2", Namespace: "ns1", Version: "1.1"})
	p.goCounts("direct").want(t, map[string]int{"go1": 2, "go2": 0})
	p.goCounts("any").both().want(t, map[string]int{"both": 6})
	p.goCounts("namespaced").want(t, map[string]int{"go1": 0, "go2": 1})
	if r := p.goServers["go2"].recorded("namespaced"); len(r) != 1 || r[0].endpoint != "ns1/1.5" {
		t.Errorf("recorded %+v", r)
	}
	for _, r := range p.goServers["go1"].recorded("direct") {
		if fmt.Sprint(r.ctxt) != fmt.Sprint(messaging.RequestContext{"user": "alice"}) {
			t.Errorf("a cast brought the context %v", r.ctxt)
		}
	}
}

func testPythonFansOut(t *testing.T, p *peers) {
	fanout := func(r peertest.Request) error { return p.pythonClient.Fanout(soon(t), r) }
	pythonCast(t, fanout, "fanout", 3, peertest.Request{})
	p.goCounts("fanout").want(t, map[string]int{"go1": 3, "go2": 3})
	pythonCast(t, fanout, "namespaced fanout", 1, peertest.Request{Namespace: "ns0", Version: "1.5"})
	p.goCounts("namespaced fanout").want(t, map[string]int{"go1": 1, "go2": 1})
	p.goCounts("fanout").want(t, map[string]int{"go1": 3, "go2": 3})
}

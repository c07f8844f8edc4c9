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

// seen counts, for each server, how often it was told to record which "what". What each has
// recorded before is left out by asking for one "what" at a time.
func pythonSaw(t *testing.T, s *peertest.PythonServer, what string) int {
	t.Helper()
	records, err := s.Received(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, r := range records {
		var args struct{ What string }
		if err := json.Unmarshal(r.Args, &args); err != nil {
			t.Fatal(err)
		}
		if args.What == what {
			n++
		}
	}
	return n
}

func (r *recorder) saw(what string) int {
	n := 0
	for _, rec := range r.all() {
		if rec.args["what"] == what {
			n++
		}
	}
	return n
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

func note(what string) map[string]any { return map[string]any{"what": what} }

// testGoCasts casts to one server, to any, and to all.
func testGoCasts(t *testing.T, c *messaging.RPCClient, servers map[string]*peertest.PythonServer) {
	ask := func(what string) counts {
		return counts{
			"py1": func() int { return pythonSaw(t, servers["py1"], what) },
			"py2": func() int { return pythonSaw(t, servers["py2"], what) },
		}
	}
	cast := func(label string, n int, opts ...messaging.CallOption) {
		for range n {
			if err := c.With(opts...).Cast(soon(t), "record", note(label)); err != nil {
				t.Fatal(err)
			}
		}
	}
	cast("direct", 2, messaging.Server("py1"))
	ask("direct").want(t, map[string]int{"py1": 2, "py2": 0})
	cast("fanout", 3, messaging.Fanout())
	ask("fanout").want(t, map[string]int{"py1": 3, "py2": 3})
	// Two consumers of one queue are served in turn.
	cast("any", 6)
	all := counts{"both": func() int {
		return pythonSaw(t, servers["py1"], "any") + pythonSaw(t, servers["py2"], "any")
	}}
	all.want(t, map[string]int{"both": 6})
	cast("namespaced", 1, messaging.Server("py2"), messaging.Namespace("ns1"), messaging.Version("1.1"))
	ask("namespaced").want(t, map[string]int{"py1": 0, "py2": 1})
	ask("fanout").want(t, map[string]int{"py1": 3, "py2": 3})
}

// testMixedFanout has Python and Go serve one topic.
func testMixedFanout(t *testing.T, tr *messaging.Transport, c *messaging.RPCClient, servers map[string]*peertest.PythonServer, topic string) {
	r := goServer(t, tr, topic, "go1")
	if err := c.With(messaging.Fanout()).Cast(soon(t), "record", note("mixed")); err != nil {
		t.Fatal(err)
	}
	counts{
		"py1": func() int { return pythonSaw(t, servers["py1"], "mixed") },
		"py2": func() int { return pythonSaw(t, servers["py2"], "mixed") },
		"go1": func() int { return r.saw("mixed") },
	}.want(t, map[string]int{"py1": 1, "py2": 1, "go1": 1})
	testAddressing(t, c, "py1", "py2", "go1")
}

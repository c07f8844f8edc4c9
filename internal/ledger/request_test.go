// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

// TestCollect puts the ledgers of a client and two servers together.
func TestCollect(t *testing.T) {
	sources := []Source{
		source(t, "s1", true, Line{ID: "c-1", At: 5}, Line{ID: "c-1", At: 6, Done: true}, Line{ID: "c-3", At: 8}),
		source(t, "s2", true, Line{ID: "c-3", At: 9}, Line{ID: "c-3", At: 10}),
		source(t, "c", false,
			Line{ID: "c-2", At: 2, Kind: Cast}, Line{ID: "c-1", At: 1, Kind: Call, To: "s1"}, Line{ID: "c-3", At: 3, Kind: Fanout},
			Line{ID: "c-1", At: 1, Kind: Call, To: "s1", Done: true, Took: 7}, Line{ID: "c-2", At: 2, Kind: Cast, Done: true, Took: 1},
			Line{ID: "c-3", At: 3, Kind: Fanout, Done: true, Took: 1, Code: string(messaging.CodeInDoubt), Text: "why"}),
	}
	requests, err := Collect(sources)
	testbed.Must(t, err)
	if len(requests) != 3 {
		t.Fatalf("%d requests, want 3", len(requests))
	}
	call, cast, fanout := requests[0], requests[1], requests[2]
	for what, ok := range map[string]bool{
		"the order":           call.Kind == Call && cast.Kind == Cast && fanout.Kind == Fanout,
		"whose they are":      call.From == "c" && call.To == "s1",
		"the call's end":      call.Accepted() && call.End().Equal(time.Unix(0, 8)),
		"its run":             len(call.Runs) == 1 && call.RunBy("s1") && !call.RunBy("s2") && !call.Twice() && !call.Unrun(),
		"the cast's loss":     cast.Unrun() && !cast.Twice(),
		"the fanout's doubt":  fanout.InDoubt() && !fanout.Accepted() && fanout.Text == "why",
		"the fanout's repeat": fanout.RunBy("s1") && fanout.RunBy("s2") && fanout.Twice(),
	} {
		if !ok {
			t.Errorf("%s: %v; %v; %v", what, call, cast, fanout)
		}
	}
	if _, err := Collect(sources[:2]); err == nil {
		t.Error("servers ran what nobody sent, and nobody is told")
	}
}

func source(t *testing.T, name string, serves bool, lines ...Line) Source {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	f, err := Create(file)
	testbed.Must(t, err)
	for _, l := range lines {
		f.write(l)
	}
	testbed.Must(t, f.Close())
	return Source{ID: name, Name: name, File: file, Serves: serves}
}

func TestRequest(t *testing.T) {
	const timeout = time.Second
	twoServers, oneServer := []Run{{By: "a"}, {By: "b"}}, []Run{{By: "a"}, {By: "a"}}
	for _, tc := range []struct {
		name               string
		q                  Request
		hung, unrun, twice bool
	}{
		{name: "never returned", q: Request{Kind: Call}, hung: true},
		{name: "late", q: Request{Kind: Call, Returned: true, Took: timeout + Slack + 1, Runs: twoServers[:1]}, hung: true},
		{name: "in time", q: Request{Kind: Call, Returned: true, Took: timeout + Slack, Runs: twoServers[:1]}},
		{name: "a call nobody ran", q: Request{Kind: Call, Returned: true}},
		{name: "a cast nobody ran", q: Request{Kind: Cast, Returned: true}, unrun: true},
		{name: "a cast that failed", q: Request{Kind: Cast, Returned: true, Code: CodeNone}},
		{name: "a cast that never returned", q: Request{Kind: Cast}, hung: true},
		{name: "run by two servers", q: Request{Kind: Cast, Returned: true, Runs: twoServers}, twice: true},
		{name: "a fanout", q: Request{Kind: Fanout, Returned: true, Runs: twoServers}},
		{name: "a fanout that came again", q: Request{Kind: Fanout, Returned: true, Runs: oneServer}, twice: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.q.Hung(timeout); got != tc.hung {
				t.Errorf("hung: %v", got)
			}
			if got := tc.q.Unrun(); got != tc.unrun {
				t.Errorf("accepted and not run: %v", got)
			}
			if got := tc.q.Twice(); got != tc.twice {
				t.Errorf("run twice: %v", got)
			}
		})
	}
}

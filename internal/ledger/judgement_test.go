// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/messaging"
)

func TestJudgement(t *testing.T) {
	requests := []*Request{
		{Kind: Call, Returned: true, Took: 2 * time.Second},
		{Kind: Call},
		{Kind: Cast, Returned: true},
		{Kind: Fanout, Returned: true},
		{Kind: Call, Returned: true, Code: string(messaging.CodeInDoubt)},
		{Kind: Call, Returned: true, Code: string(messaging.CodeInDoubt)},
	}
	var j Judgement
	j.Count(requests)
	if j.Requests != 6 || j.Answered != 1 || j.Accepted != 2 || j.Longest != 2*time.Second {
		t.Errorf("%+v", j)
	}
	var b strings.Builder
	j.WriteCodes(&b)
	if got, want := b.String(), "  call "+string(messaging.CodeInDoubt)+": 2\n"; got != want {
		t.Errorf("the codes are %q, want %q", got, want)
	}
}

// TestFind shows some of the requests that break a promise, and counts all.
func TestFind(t *testing.T) {
	all := make([]*Request, 2*shown)
	for i := range all {
		all[i] = &Request{Kind: Call}
	}
	for _, tc := range []struct{ found, lines int }{{0, 0}, {1, 1}, {shown, shown}, {shown + 1, shown + 1}, {2 * shown, shown + 1}} {
		var j Judgement
		seen := 0
		n := j.Find(all, "hung", func(*Request) bool { seen++; return seen <= tc.found }, (*Request).String)
		if n != tc.found || len(j.Broken) != tc.lines {
			t.Errorf("%d were found and %d lines written, want %d and %d", n, len(j.Broken), tc.found, tc.lines)
		}
		var b strings.Builder
		j.WriteBroken(&b)
		if got := strings.Count(b.String(), "  BROKEN hung: "); got != tc.lines {
			t.Errorf("%d lines say what is broken, want %d:\n%s", got, tc.lines, &b)
		}
	}
}

func TestSpread(t *testing.T) {
	all := []time.Duration{3 * time.Second, time.Second, 2 * time.Second}
	if median, longest := Spread(all); median != 2*time.Second || longest != 3*time.Second {
		t.Errorf("%v and %v", median, longest)
	}
	if all[0] != 3*time.Second {
		t.Error("the times are in another order")
	}
}

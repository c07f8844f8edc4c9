// SPDX-License-Identifier: Apache-2.0

package qpidfaults

import (
	"fmt"
	"slices"
	"time"

	"github.com/parleymq/parley/internal/ledger"
)

const (
	// queueTime is how long a cast may be with the broker or a server's driver after it was accepted.
	queueTime = 5 * time.Second
	// settleTime is how long after everything went through again one of many requests may still fail.
	settleTime = 300 * time.Millisecond
	// toldLimit is after how long a call whose reply address is lost must be in doubt: well before
	// its time is over.
	toldLimit = requestTimeout * 8 / 10
	// ackTime is how long before its connection is lost a server may have accepted what the broker does
	// not know of.
	ackTime = time.Second
)

// tally is what is counted of one fault.
type tally struct {
	recovered time.Duration   // the longest that any pair needed, -1 for never
	told      []time.Duration // after the fault, of calls in flight that are in doubt
	inDoubt   int             // of all kinds of requests
	failed    int             // with other codes
	lost      int             // casts of the defaults
	reliable  int             // reliable casts with the broker's memory
	driver    int             // casts with a server's driver
	missed    int             // fanouts
	again     int             // requests that were run twice
}

// report is the judgement.
type report struct {
	ledger.Judgement
	run *run

	lost, twice, hung, uncoded, untrue int
	told, missed, peace, slow          int
	elsewhere                          int // run by both servers, and excused
}

// judge compares the ledgers with the promises.
func (r *run) judge() (*report, error) {
	requests, err := r.collect()
	if err != nil {
		return nil, err
	}
	rep := &report{run: r, Judgement: ledger.Judgement{Broken: slices.Clone(r.problem)}}
	rep.Count(requests)
	find := func(what string, is func(*ledger.Request) bool) int { return rep.Find(requests, what, is, r.describe) }
	for _, q := range requests {
		r.attribute(q)
		if q.Twice() && r.takenBack(q) {
			rep.elsewhere++
		}
	}
	rep.lost = find("accepted and not run", func(q *ledger.Request) bool { return q.Unrun() && r.excuse(q) == nil })
	rep.twice = find("run twice", func(q *ledger.Request) bool { return q.Twice() && !r.takenBack(q) })
	rep.hung = find("hung", hung)
	rep.uncoded = find("failed with a code that says nothing", uncoded)
	rep.untrue = find("the outcome is not true", untrue)
	rep.told = find("in doubt, and told late", r.toldLate)
	rep.missed = find("fanout missed while nothing was broken", func(q *ledger.Request) bool { return r.missedOne(q) && r.inPeace(q, queueTime) })
	rep.peace = find("failed while nothing was broken", func(q *ledger.Request) bool { return q.Code != "" && r.inPeace(q, 0) })
	for _, f := range r.faults {
		r.measure(f, requests)
		if !f.isPeaceful() && (f.recovered < 0 || f.recovered > f.limit) {
			rep.slow++
			rep.Broken = append(rep.Broken, fmt.Sprintf("calls went through again after %v: %v at %s", ledger.Round(f.recovered), f, ledger.Clock(f.at)))
		}
	}
	for _, what := range r.left {
		rep.Broken = append(rep.Broken, "left: "+what)
	}
	return rep, nil
}

// inPeace says that nothing was broken from the beginning of a request until lag after its end.
func (r *run) inPeace(q *ledger.Request, lag time.Duration) bool {
	if q.Began.Before(r.started) {
		return false
	}
	return !slices.ContainsFunc(r.faults, func(f *fault) bool {
		return !f.isPeaceful() && !f.at.After(q.End().Add(lag)) && !f.until.Add(settleTime).Before(q.Began)
	})
}

// excuse is the fault with which a cast that was accepted may be lost, nil when there is none. All that
// were under way or in a queue when it struck are excused, but no others.
func (r *run) excuse(q *ledger.Request) *fault {
	for _, f := range r.faults {
		if !f.overlaps(q, queueTime) {
			continue
		}
		atSender := !isReliable(q.From) && f.endsReplies(q.From)
		if f.endsBroker() || f.kind == faultKillServerDriver || atSender {
			return f
		}
	}
	return nil
}

// takenBack says that a request was run by one server after the other, and that the first one's
// connection was lost as it accepted it: then the broker may not have heard of that, and nobody else
// knows that it was run.
func (r *run) takenBack(q *ledger.Request) bool {
	if q.Kind == ledger.Fanout || len(q.Runs) != 2 || q.Runs[0].By == q.Runs[1].By {
		return false
	}
	slices.SortFunc(q.Runs, func(a, b ledger.Run) int { return a.At.Compare(b.At) })
	first := q.Runs[0]
	return slices.ContainsFunc(r.faults, func(f *fault) bool {
		lost := !f.isPeaceful() && !f.endsBroker() && f.concerns("", first.By)
		return lost && first.At.After(f.at.Add(-ackTime)) && first.At.Before(f.until)
	})
}

// toldLate says that a call was in flight when the address for its reply was lost, and that its caller
// heard of that late or never.
func (r *run) toldLate(q *ledger.Request) bool {
	return q.Kind == ledger.Call && q.Code != "" && slices.ContainsFunc(r.faults, func(f *fault) bool {
		return f.endsReplies(q.From) && q.Began.Before(f.at) && q.End().Sub(f.at) > toldLimit
	})
}

// missedOne says that an accepted fanout did not reach all servers.
func (r *run) missedOne(q *ledger.Request) bool {
	return q.Kind == ledger.Fanout && q.Accepted() && len(q.Runs) < len(r.servers)
}

// attribute counts what became of a request with the first fault that it met.
func (r *run) attribute(q *ledger.Request) {
	i := slices.IndexFunc(r.faults, func(f *fault) bool { return f.overlaps(q, 0) })
	lag := slices.IndexFunc(r.faults, func(f *fault) bool { return f.overlaps(q, queueTime) })
	if i >= 0 && q.Code != "" {
		f := r.faults[i]
		if q.InDoubt() {
			f.inDoubt++
		} else {
			f.failed++
		}
	}
	if lag < 0 {
		return
	}
	f := r.faults[lag]
	if excuse := r.excuse(q); excuse != nil && q.Unrun() {
		excuse.lose(q)
	}
	if r.missedOne(q) {
		f.missed++
	}
	if q.Twice() {
		f.again++
	}
}

// lose counts a cast that was lost with the fault.
func (f *fault) lose(q *ledger.Request) {
	switch {
	case f.kind == faultKillServerDriver:
		f.driver++
	case isReliable(q.From):
		f.reliable++
	default:
		f.lost++
	}
}

// measure finds out how long a fault was felt: until calls went through between each of the pairs that
// it concerns, and until calls in flight were told.
func (r *run) measure(f *fault, requests []*ledger.Request) {
	first := make(map[string]time.Duration)
	for _, c := range r.clients {
		for _, to := range append([]string{""}, c.Servers...) {
			if f.concerns(c.Name, to) {
				first[c.Name+" "+to] = -1
			}
		}
	}
	for _, q := range requests {
		if q.Kind != ledger.Call {
			continue
		}
		if q.InDoubt() && q.Began.Before(f.at) && q.End().After(f.at) && f.endsReplies(q.From) {
			f.told = append(f.told, q.End().Sub(f.at))
		}
		d, ok := first[q.From+" "+q.To]
		if took := q.End().Sub(f.back); ok && q.Accepted() && q.Began.After(f.hit) && took > 0 && (d < 0 || took < d) {
			first[q.From+" "+q.To] = took
		}
	}
	if f.isPeaceful() { // nobody waits for it
		f.recovered = f.back.Sub(f.at)
		return
	}
	for _, d := range first {
		if d < 0 {
			f.recovered = -1
			return
		}
		f.recovered = max(f.recovered, d)
	}
}

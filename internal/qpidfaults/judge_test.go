// SPDX-License-Identifier: Apache-2.0

package qpidfaults

import (
	"fmt"
	"slices"
	"time"
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
	// shown is how many requests of one broken promise are shown.
	shown = 8
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
	run                          *run
	requests, answered, accepted int
	codes                        map[string]int
	longest                      time.Duration

	lost, twice, hung, uncoded, untrue int
	told, missed, peace, slow          int
	elsewhere                          int // run by both servers, and excused

	broken []string
}

// judge compares the ledgers with the promises.
func (r *run) judge() (*report, error) {
	requests, err := r.collect()
	if err != nil {
		return nil, err
	}
	rep := &report{run: r, codes: make(map[string]int), broken: slices.Clone(r.problem)}
	for _, q := range requests {
		rep.count(q)
		r.attribute(q)
		if q.twice() && r.takenBack(q) {
			rep.elsewhere++
		}
	}
	rep.lost = rep.find(requests, "accepted and not run", func(q *request) bool { return q.unrun() && r.excuse(q) == nil })
	rep.twice = rep.find(requests, "run twice", func(q *request) bool { return q.twice() && !r.takenBack(q) })
	rep.hung = rep.find(requests, "hung", (*request).hung)
	rep.uncoded = rep.find(requests, "failed with a code that says nothing", (*request).uncoded)
	rep.untrue = rep.find(requests, "the outcome is not true", (*request).untrue)
	rep.told = rep.find(requests, "in doubt, and told late", r.toldLate)
	rep.missed = rep.find(requests, "fanout missed while nothing was broken", func(q *request) bool { return r.missedOne(q) && r.inPeace(q, queueTime) })
	rep.peace = rep.find(requests, "failed while nothing was broken", func(q *request) bool { return q.code != "" && r.inPeace(q, 0) })
	for _, f := range r.faults {
		r.measure(f, requests)
		if !f.isPeaceful() && (f.recovered < 0 || f.recovered > f.limit) {
			rep.slow++
			rep.broken = append(rep.broken, fmt.Sprintf("calls went through again after %v: %v at %s", round(f.recovered), f, clock(f.at)))
		}
	}
	for _, what := range r.left {
		rep.broken = append(rep.broken, "left: "+what)
	}
	return rep, nil
}

func (rep *report) count(q *request) {
	rep.requests++
	rep.longest = max(rep.longest, q.took)
	switch {
	case q.code != "":
		rep.codes[q.kind+" "+q.code]++
	case q.kind == kindCall && q.returned:
		rep.answered++
	case q.returned:
		rep.accepted++
	}
}

// find counts the requests that break a promise, and shows the first of them.
func (rep *report) find(requests []*request, what string, is func(*request) bool) int {
	n := 0
	for _, q := range requests {
		if !is(q) {
			continue
		}
		if n++; n <= shown {
			rep.broken = append(rep.broken, what+": "+rep.run.describe(q))
		}
	}
	if n > shown {
		rep.broken = append(rep.broken, fmt.Sprintf("%s: %d more", what, n-shown))
	}
	return n
}

// inPeace says that nothing was broken from the beginning of a request until lag after its end.
func (r *run) inPeace(q *request, lag time.Duration) bool {
	if q.began.Before(r.started) {
		return false
	}
	return !slices.ContainsFunc(r.faults, func(f *fault) bool {
		return !f.isPeaceful() && !f.at.After(q.end().Add(lag)) && !f.until.Add(settleTime).Before(q.began)
	})
}

// excuse is the fault with which a cast that was accepted may be lost, nil when there is none. All that
// were under way or in a queue when it struck are excused, but no others.
func (r *run) excuse(q *request) *fault {
	for _, f := range r.faults {
		if !f.overlaps(q, queueTime) {
			continue
		}
		atSender := !isReliable(q.from.Name) && f.endsReplies(q.from.Name)
		if f.endsBroker() || f.kind == faultKillServerDriver || atSender {
			return f
		}
	}
	return nil
}

// takenBack says that a request was run by one server after the other, and that the first one's
// connection was lost as it accepted it: then the broker may not have heard of that, and nobody else
// knows that it was run.
func (r *run) takenBack(q *request) bool {
	if q.kind == kindFanout || len(q.runs) != 2 || q.runs[0].by == q.runs[1].by {
		return false
	}
	slices.SortFunc(q.runs, func(a, b execution) int { return a.at.Compare(b.at) })
	first := q.runs[0]
	return slices.ContainsFunc(r.faults, func(f *fault) bool {
		lost := !f.isPeaceful() && !f.endsBroker() && f.concerns("", first.by.Name)
		return lost && first.at.After(f.at.Add(-ackTime)) && first.at.Before(f.until)
	})
}

// toldLate says that a call was in flight when the address for its reply was lost, and that its caller
// heard of that late or never.
func (r *run) toldLate(q *request) bool {
	return q.kind == kindCall && q.code != "" && slices.ContainsFunc(r.faults, func(f *fault) bool {
		return f.endsReplies(q.from.Name) && q.began.Before(f.at) && q.end().Sub(f.at) > toldLimit
	})
}

// missedOne says that an accepted fanout did not reach all servers.
func (r *run) missedOne(q *request) bool {
	return q.kind == kindFanout && q.accepted() && len(q.runs) < len(r.servers)
}

// attribute counts what became of a request with the first fault that it met.
func (r *run) attribute(q *request) {
	i := slices.IndexFunc(r.faults, func(f *fault) bool { return f.overlaps(q, 0) })
	lag := slices.IndexFunc(r.faults, func(f *fault) bool { return f.overlaps(q, queueTime) })
	if i >= 0 && q.code != "" {
		f := r.faults[i]
		if q.inDoubt() {
			f.inDoubt++
		} else {
			f.failed++
		}
	}
	if lag < 0 {
		return
	}
	f := r.faults[lag]
	if excuse := r.excuse(q); excuse != nil && q.unrun() {
		excuse.lose(q)
	}
	if r.missedOne(q) {
		f.missed++
	}
	if q.twice() {
		f.again++
	}
}

// lose counts a cast that was lost with the fault.
func (f *fault) lose(q *request) {
	switch {
	case f.kind == faultKillServerDriver:
		f.driver++
	case isReliable(q.from.Name):
		f.reliable++
	default:
		f.lost++
	}
}

// measure finds out how long a fault was felt: until calls went through between each of the pairs that
// it concerns, and until calls in flight were told.
func (r *run) measure(f *fault, requests []*request) {
	first := make(map[string]time.Duration)
	for _, c := range r.clients {
		for _, to := range append([]string{""}, c.Servers...) {
			if f.concerns(c.Name, to) {
				first[c.Name+" "+to] = -1
			}
		}
	}
	for _, q := range requests {
		if q.kind != kindCall {
			continue
		}
		if q.inDoubt() && q.began.Before(f.at) && q.end().After(f.at) && f.endsReplies(q.from.Name) {
			f.told = append(f.told, q.end().Sub(f.at))
		}
		d, ok := first[q.from.Name+" "+q.to]
		if took := q.end().Sub(f.back); ok && q.accepted() && q.began.After(f.hit) && took > 0 && (d < 0 || took < d) {
			first[q.from.Name+" "+q.to] = took
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

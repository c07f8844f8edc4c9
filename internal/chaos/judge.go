// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"errors"
	"slices"
	"time"

	"github.com/parleymq/parley/messaging"
)

const (
	// linesShown is how many requests of one broken promise are shown.
	linesShown = 5
	// around is how far from a request and its runs faults are shown with it.
	around = time.Second
)

// judge compares the ledger with the promises. Nobody writes into it any more, but for callers
// that hang.
func (r *runner) judge() {
	r.ledger.mu.Lock()
	defer r.ledger.mu.Unlock()
	records := r.ledger.records
	rep := r.report
	rep.CallErrors, rep.CastErrors = map[string]int{}, map[string]int{}
	for _, rec := range records {
		rep.count(rec)
	}
	rep.Lost = r.broke("accepted and lost", records, (*record).isLost)
	rep.RunTwice = r.broke("run twice", records, (*record).ranTwice)
	rep.RunRedelivered = r.knownLimit(records)
	rep.Hung = r.broke("hung", records, func(rec *record) bool { return rec.hung(r.opts.Slack) })
	rep.NotRun = r.broke("answered and not run", records, func(rec *record) bool { return rec.isAnswered() && rec.finished() == 0 })
	rep.Unexplained = r.broke("failed in a way that no fault explains", records, (*record).isUnexplained)
	r.judgeFaults(records)
}

// count adds a request to the sums.
func (rep *Report) count(rec *record) {
	switch {
	case !rec.returned:
		return
	case rec.cast:
		rep.Casts++
		if rec.code != "" {
			rep.CastErrors[rec.code]++
			return
		}
		rep.Accepted++
		if len(rec.runs) > 1 {
			rep.CastsRunAgain++
		}
	default:
		rep.Calls++
		if rec.code != "" {
			rep.CallErrors[rec.code]++
			return
		}
		rep.Answered++
		rep.LongestAnswer = max(rep.LongestAnswer, rec.took)
	}
}

// knownLimit counts the calls that two servers have run. It is the limit of acknowledging without
// a confirmation, which AMQP does not have: with Strict it is a broken promise.
func (r *runner) knownLimit(records []*record) int {
	const what = "run by two servers, the acknowledgement of the first was lost"
	if r.opts.Strict {
		return r.broke(what, records, (*record).ranRedelivered)
	}
	n := 0
	for _, rec := range records {
		if !rec.ranRedelivered() {
			continue
		}
		n++
		if n <= linesShown {
			r.report.Known = append(r.report.Known, what+": "+rec.String())
		}
	}
	return n
}

// isUnexplained says that a request failed, and that no fault may have that effect.
func (rec *record) isUnexplained() bool {
	switch rec.code {
	case "", string(messaging.CodeNoReply), string(messaging.CodeInDoubt), string(messaging.CodeExpired), string(messaging.CodeUnavailable):
		return false
	default:
		return true
	}
}

// broke counts the requests that break a promise, and shows the first of them.
func (r *runner) broke(what string, records []*record, is func(*record) bool) int {
	n := 0
	for _, rec := range records {
		if !is(rec) {
			continue
		}
		n++
		if n <= linesShown {
			r.report.broken("%s: %s", what, rec)
			r.report.Broken = append(r.report.Broken, r.faultsAround(rec)...)
		}
	}
	if n > linesShown {
		r.report.broken("%s: %d more", what, n-linesShown)
	}
	return n
}

// faultsAround are the lines of the faults about when a request was.
func (r *runner) faultsAround(rec *record) []string {
	to := rec.start + max(rec.took, rec.timeout)
	for _, run := range rec.runs {
		to = max(to, run.start)
	}
	faults := r.faults.during(rec.start-around, to+around)
	lines := make([]string, 0, len(faults))
	for _, f := range faults {
		lines = append(lines, "    "+f.String())
	}
	return lines
}

// judgeFaults finds out what each fault cost.
func (r *runner) judgeFaults(records []*record) {
	back := make([]recoveries, 0, len(r.ends))
	for _, e := range r.ends {
		back = append(back, newRecoveries(records, e.name))
	}
	all := r.faults.all
	for _, f := range all {
		for _, direction := range back {
			healed := direction.after(f.start)
			if healed < 0 && f.err == nil {
				r.report.broken("no call was answered after %s", f)
			}
			f.healed = max(f.healed, healed)
		}
	}
	for _, f := range all {
		f.alone = !slices.ContainsFunc(all, func(other *fault) bool {
			return other != f && other.start <= f.over() && other.over() >= f.start
		})
		if errors.Is(f.err, errHung) || f.kind == AddListener && f.err != nil {
			r.report.broken("%s", f)
		}
	}
	for _, kind := range r.opts.Only {
		r.report.Faults = append(r.report.Faults, summarize(kind, all))
	}
}

// over is when nothing of the fault was felt any more.
func (f *fault) over() time.Duration { return max(f.until, f.healed) }

// recoveries are the answered calls of one direction, in the order in which they began. first
// is the earliest end of a call and of all that began after it.
type recoveries struct{ start, first []time.Duration }

func newRecoveries(records []*record, from string) recoveries {
	var b recoveries
	for _, rec := range records {
		if rec.from == from && rec.isAnswered() {
			b.start, b.first = append(b.start, rec.start), append(b.first, rec.start+rec.took)
		}
	}
	for i := len(b.first) - 2; i >= 0; i-- {
		b.first[i] = min(b.first[i], b.first[i+1])
	}
	return b
}

// after is when the first call was answered that began after at, -1 for never.
func (b recoveries) after(at time.Duration) time.Duration {
	i, _ := slices.BinarySearch(b.start, at+1)
	if i == len(b.start) {
		return -1
	}
	return b.first[i]
}

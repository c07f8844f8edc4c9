// SPDX-License-Identifier: Apache-2.0

package zmqfaults

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/parleymq/parley/internal/ledger"
	"github.com/parleymq/parley/messaging"
)

const (
	// killWindow is how long before the end of an application it may have taken what it did not
	// run any more.
	killWindow = 1500 * time.Millisecond
	// before and after a fault its victim may miss a fanout.
	before, after = time.Second, 4 * time.Second
	// slow is more than a handler takes.
	slow = time.Second
	// slowRecovery is told apart.
	slowRecovery = 1500 * time.Millisecond
)

// report is the judgement.
type report struct {
	ledger.Judgement
	lostWithApp                int
	lost, twice, hung, uncoded int
	untrue, missed, errors     int
	overloaded                 int
	faults                     []*fault
	left                       []string
}

// collect puts the ledgers together, in the order in which the requests began.
func (m *mesh) collect() ([]*ledger.Request, error) {
	var sources []ledger.Source
	for _, a := range m.all {
		sources = append(sources, a.source())
	}
	return ledger.Collect(sources)
}

// judge compares the ledgers with the promises.
func (m *mesh) judge() (*report, error) {
	requests, err := m.collect()
	if err != nil {
		return nil, err
	}
	rep := &report{Judgement: ledger.Judgement{Broken: slices.Clone(m.problem)}, faults: m.faults, left: m.left}
	rep.Count(requests)
	find := func(what string, is func(*ledger.Request) bool) int { return rep.Find(requests, what, is, m.describe) }
	rep.lostWithApp = len(slices.DeleteFunc(slices.Clone(requests), func(r *ledger.Request) bool { return !r.Unrun() || !m.withApp(r) }))
	rep.lost = find("accepted and not run", func(r *ledger.Request) bool { return r.Unrun() && !m.withApp(r) })
	rep.twice = find("run twice", (*ledger.Request).Twice)
	rep.hung = find("hung", func(r *ledger.Request) bool { return r.Hung(requestTimeout) })
	rep.uncoded = find("failed without a code", func(r *ledger.Request) bool { return r.Returned && !allowed(r.Code) })
	rep.untrue = find("failed for sure, and was run", untrue)
	onTime := func(is func(*ledger.Request) bool) func(*ledger.Request) bool {
		return func(r *ledger.Request) bool {
			if !is(r) {
				return false
			}
			late := overloaded(requests, r)
			if late {
				rep.overloaded++
			}
			return !late
		}
	}
	rep.missed = find("fanout missed by a server that nothing happened to", onTime(m.missed))
	rep.errors = find("failed, though nothing was broken that the mesh does not heal", onTime(m.failedInPeace))
	for _, what := range m.left {
		rep.Broken = append(rep.Broken, "left: "+what)
	}
	for i, f := range m.faults {
		next := time.Now()
		if i+1 < len(m.faults) {
			next = m.faults[i+1].at
		}
		m.measure(f, requests, next)
	}
	return rep, nil
}

// withApp says that an application was killed when it may have had the request.
func (m *mesh) withApp(r *ledger.Request) bool {
	return slices.ContainsFunc(m.all, func(a *app) bool {
		return a.Role == roleServer && a.Killed() && a.ended.After(r.Began) && a.ended.Before(r.End().Add(killWindow))
	})
}

// allowed are the codes of what may become of a request when things break.
func allowed(code string) bool {
	switch messaging.Code(code) {
	case "", messaging.CodeNoReply, messaging.CodeInDoubt, messaging.CodeExpired, messaging.CodeUnavailable, messaging.CodeUndeliverable:
		return true
	default:
		return false
	}
}

// untrue says that the code says it was not run, and it was.
func untrue(r *ledger.Request) bool {
	switch messaging.Code(r.Code) {
	case messaging.CodeExpired, messaging.CodeUnavailable, messaging.CodeUndeliverable:
		return r.Kind != ledger.Fanout && len(r.Runs) > 0
	default:
		return false
	}
}

// missed says that a fanout did not reach a server that was there all the time, and that no fault
// was near.
func (m *mesh) missed(r *ledger.Request) bool {
	if r.Kind != ledger.Fanout || !r.Accepted() {
		return false
	}
	for _, a := range m.all {
		if a.Role != roleServer || a.ready.IsZero() || a.ready.Add(before).After(r.Began) || a.ended.Before(r.End().Add(before)) {
			continue
		}
		if m.touched(a, r) || r.RunBy(a.id) {
			continue
		}
		return true
	}
	return false
}

// touched reports whether a fault hit the server, or the sender or the discovery, when the request
// was under way.
func (m *mesh) touched(a *app, r *ledger.Request) bool {
	return slices.ContainsFunc(m.faults, func(f *fault) bool {
		near := f.at.Add(-before).Before(r.End()) && f.until.Add(after).After(r.Began)
		hits := f.app == nil || f.app == a || strings.HasPrefix(r.ID, f.app.Name+"-")
		return near && hits
	})
}

// failedInPeace says that a request failed that was under way when servers only left in order or
// joined. Those to the one that left are not meant.
func (m *mesh) failedInPeace(r *ledger.Request) bool {
	if !r.Returned || r.Code == "" || r.To != "" {
		return false
	}
	peace := false
	for _, f := range m.faults {
		if f.at.Add(-before).Before(r.End()) && f.until.Add(after).After(r.Began) {
			if !f.peaceful() {
				return false
			}
			peace = true
		}
	}
	return peace
}

// overloaded says that the machine was so busy when a request was under way that every other call took
// long: then a time that is over, or a peer that was silent for long, is no fault of the mesh. A request
// that is lost, or an answer, leaves the others as quick as they are.
func overloaded(requests []*ledger.Request, r *ledger.Request) bool {
	var took []time.Duration
	for _, o := range requests {
		if o != r && o.Kind == ledger.Call && o.Accepted() && o.Began.Before(r.End().Add(around)) && o.End().After(r.Began.Add(-around)) {
			took = append(took, o.Took)
		}
	}
	slices.Sort(took)
	return len(took) > 0 && took[len(took)/2] > overload
}

const (
	// overload is what half of the calls take at least on a machine that cannot keep up, ten times what
	// they take on one that can, and around is the time about a request in which they are looked at.
	overload, around = 200 * time.Millisecond, time.Second
)

// peaceful says that nothing was broken.
func (f *fault) peaceful() bool {
	return slices.Contains([]string{faultShutdown, faultJoin, faultReload, faultCutLinks}, f.kind)
}

// measure finds out how long a fault was felt, before the next one.
func (m *mesh) measure(f *fault, requests []*ledger.Request, next time.Time) {
	f.recovered, f.joined, f.felt = -1, -1, -1
	since := f.at
	if !f.since.IsZero() {
		since = f.since
	}
	for _, r := range requests {
		if f.joiner != nil && r.To == "" {
			for _, run := range r.Runs {
				if d := max(0, run.At.Sub(f.joiner.ready)); run.By == f.joiner.id && (f.joined < 0 || d < f.joined) {
					f.joined = d
				}
			}
		}
		if r.To == "" && r.Kind != ledger.Fanout && (r.Code != "" || r.Took > slow) && r.Began.After(f.at) && r.End().Before(next) {
			f.felt = max(f.felt, r.Began.Sub(f.at))
		}
		ofVictim := f.victim == "" || r.To == f.victim || strings.HasPrefix(r.ID, f.victim+"-")
		if d := r.End().Sub(since); r.Kind == ledger.Call && r.Accepted() && r.Began.After(since) && ofVictim && (f.recovered < 0 || d < f.recovered) {
			f.recovered = d
		}
	}
}

// describe is a line for a request, and the faults about at that time.
func (m *mesh) describe(r *ledger.Request) string {
	var b strings.Builder
	b.WriteString(r.String())
	for _, f := range m.faults {
		if f.at.Add(-before).Before(r.End()) && f.until.Add(after).After(r.Began) {
			_, _ = fmt.Fprintf(&b, "\n\t\t%s-%s %s %s %s", ledger.Clock(f.at), ledger.Clock(f.until), f.kind, f.victim, f.note)
		}
	}
	return b.String()
}

// String is what people read.
func (rep *report) String() string {
	var b strings.Builder
	_, _ = fmt.Fprintf(&b, "%d requests: %d calls answered, %d casts and fanouts accepted\n", rep.Requests, rep.Answered, rep.Accepted)
	rep.WriteCodes(&b)
	_, _ = fmt.Fprintf(&b, "casts that were with an application that was killed: %d\n", rep.lostWithApp)
	_, _ = fmt.Fprintf(&b, "lost %d, run twice %d, hung %d, without a code %d, untrue %d, fanouts missed %d, failed in peace %d, left %d\n",
		rep.lost, rep.twice, rep.hung, rep.uncoded, rep.untrue, rep.missed, rep.errors, len(rep.left))
	if rep.overloaded > 0 {
		_, _ = fmt.Fprintf(&b, "NOT PROVEN: failed or missed while the machine could not keep up: %d\n", rep.overloaded)
	}
	kinds := make(map[string][]*fault)
	for _, f := range rep.faults {
		kinds[f.kind] = append(kinds[f.kind], f)
	}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		_, _ = fmt.Fprintf(&b, "  %-32s %3d times", kind, len(kinds[kind]))
		b.WriteString(spread(", recovered", kinds[kind], func(f *fault) time.Duration { return f.recovered }))
		b.WriteString(spread(", felt by those begun until", kinds[kind], func(f *fault) time.Duration { return f.felt }))
		b.WriteString(spread(", first work of the new server", kinds[kind], func(f *fault) time.Duration { return f.joined }))
		b.WriteString("\n")
	}
	for _, f := range rep.faults {
		if f.recovered > slowRecovery && f.until.Sub(f.at) < slowRecovery || f.joined > time.Second {
			_, _ = fmt.Fprintf(&b, "  slow: %s %s at %s %s: recovered after %v, first work after %v\n", f.kind, f.victim, ledger.Clock(f.at), f.note, ledger.Round(f.recovered), ledger.Round(f.joined))
		}
	}
	rep.WriteBroken(&b)
	return b.String()
}

// spread is the median and the longest of times.
func spread(what string, faults []*fault, of func(*fault) time.Duration) string {
	var all []time.Duration
	for _, f := range faults {
		if d := of(f); d >= 0 {
			all = append(all, d)
		}
	}
	if len(all) == 0 {
		return ""
	}
	median, longest := ledger.Spread(all)
	return fmt.Sprintf("%s p50 %v max %v", what, median, longest)
}

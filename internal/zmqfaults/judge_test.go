// SPDX-License-Identifier: Apache-2.0

package zmqfaults

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/parleymq/parley/messaging"
)

const (
	// killWindow is how long before the end of an application it may have taken what it did not
	// run any more.
	killWindow = 1500 * time.Millisecond
	// shown is how many requests of one broken promise are shown.
	shown = 8
	// before and after a fault its victim may miss a fanout.
	before, after = time.Second, 4 * time.Second
	// slow is more than a handler takes.
	slow = time.Second
	// slowRecovery is told apart.
	slowRecovery = 1500 * time.Millisecond
)

// request is one request and its runs.
type request struct {
	id, kind, to  string
	began         time.Time
	returned      bool
	took          time.Duration
	code, text    string
	runs, endings []run
}

type run struct {
	by *app
	at time.Time
}

func (r *request) end() time.Time { return r.began.Add(r.took) }

func (r *request) accepted() bool { return r.returned && r.code == "" }

// report is the judgement.
type report struct {
	requests, answered, accepted int
	codes                        map[string]int
	lostWithApp                  int
	lost, twice, hung, uncoded   int
	untrue, missed, errors       int
	overloaded                   int
	broken                       []string
	faults                       []*fault
	left                         []string
}

// collect puts the ledgers together.
func (m *mesh) collect() (map[string]*request, error) {
	requests := make(map[string]*request)
	for _, a := range m.all {
		lines, err := a.read()
		if err != nil {
			return nil, err
		}
		if a.Role != roleClient {
			continue
		}
		for _, l := range lines {
			r := &request{id: l.ID, kind: l.Kind, to: l.To, began: time.Unix(0, l.At)}
			if l.Done {
				r.returned, r.took, r.code, r.text = true, time.Duration(l.Took), l.Code, l.Text
			}
			requests[l.ID] = r
		}
	}
	for _, a := range m.all {
		if a.Role != roleServer {
			continue
		}
		lines, err := a.read()
		if err != nil {
			return nil, err
		}
		for _, l := range lines {
			r := requests[l.ID]
			switch {
			case r == nil:
				return nil, fmt.Errorf("%s ran %s, which nobody sent", a.id, l.ID)
			case l.Done:
				r.endings = append(r.endings, run{a, time.Unix(0, l.At)})
			default:
				r.runs = append(r.runs, run{a, time.Unix(0, l.At)})
			}
		}
	}
	return requests, nil
}

// judge compares the ledgers with the promises.
func (m *mesh) judge() (*report, error) {
	byID, err := m.collect()
	if err != nil {
		return nil, err
	}
	requests := slices.SortedFunc(maps.Values(byID), func(a, b *request) int { return a.began.Compare(b.began) })
	rep := &report{codes: make(map[string]int), faults: m.faults, left: m.left, broken: slices.Clone(m.problem)}
	for _, r := range requests {
		rep.count(r)
	}
	find := func(what string, is func(*request) bool) int { return m.find(rep, requests, what, is) }
	rep.lostWithApp = len(slices.DeleteFunc(slices.Clone(requests), func(r *request) bool { return !r.lost() || !m.withApp(r) }))
	rep.lost = find("accepted and not run", func(r *request) bool { return r.lost() && !m.withApp(r) })
	rep.twice = find("run twice", (*request).twice)
	rep.hung = find("hung", (*request).hung)
	rep.uncoded = find("failed without a code", func(r *request) bool { return r.returned && !allowed(r.code) })
	rep.untrue = find("failed for sure, and was run", (*request).untrue)
	onTime := func(is func(*request) bool) func(*request) bool {
		return func(r *request) bool {
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
		rep.broken = append(rep.broken, "left: "+what)
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

func (rep *report) count(r *request) {
	rep.requests++
	switch {
	case r.code != "":
		rep.codes[r.kind+" "+r.code]++
	case r.kind == kindCall && r.returned:
		rep.answered++
	case r.returned:
		rep.accepted++
	}
}

// find counts the requests that break a promise, and shows the first of them.
func (m *mesh) find(rep *report, requests []*request, what string, is func(*request) bool) int {
	n := 0
	for _, r := range requests {
		if !is(r) {
			continue
		}
		if n++; n <= shown {
			rep.broken = append(rep.broken, what+": "+m.describe(r))
		}
	}
	if n > shown {
		rep.broken = append(rep.broken, fmt.Sprintf("%s: %d more", what, n-shown))
	}
	return n
}

// lost says that a cast was accepted and nobody ran it.
func (r *request) lost() bool { return r.kind == kindCast && r.accepted() && len(r.runs) == 0 }

// withApp says that an application was killed when it may have had the request.
func (m *mesh) withApp(r *request) bool {
	return slices.ContainsFunc(m.all, func(a *app) bool {
		return a.Role == roleServer && a.Killed() && a.ended.After(r.began) && a.ended.Before(r.end().Add(killWindow))
	})
}

// twice says that a request was run more than once: a fanout by the same server.
func (r *request) twice() bool {
	if r.kind != kindFanout {
		return len(r.runs) > 1
	}
	by := make(map[*app]bool)
	for _, run := range r.runs {
		if by[run.by] {
			return true
		}
		by[run.by] = true
	}
	return false
}

// hung says that its caller was kept longer than its time.
func (r *request) hung() bool { return !r.returned || r.took > requestTimeout+slack }

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
func (r *request) untrue() bool {
	switch messaging.Code(r.code) {
	case messaging.CodeExpired, messaging.CodeUnavailable, messaging.CodeUndeliverable:
		return r.kind != kindFanout && len(r.runs) > 0
	default:
		return false
	}
}

// missed says that a fanout did not reach a server that was there all the time, and that no fault
// was near.
func (m *mesh) missed(r *request) bool {
	if r.kind != kindFanout || !r.accepted() {
		return false
	}
	for _, a := range m.all {
		if a.Role != roleServer || a.ready.IsZero() || a.ready.Add(before).After(r.began) || a.ended.Before(r.end().Add(before)) {
			continue
		}
		if m.touched(a, r) || slices.ContainsFunc(r.runs, func(run run) bool { return run.by == a }) {
			continue
		}
		return true
	}
	return false
}

// touched reports whether a fault hit the server, or the sender or the discovery, when the request
// was under way.
func (m *mesh) touched(a *app, r *request) bool {
	return slices.ContainsFunc(m.faults, func(f *fault) bool {
		near := f.at.Add(-before).Before(r.end()) && f.until.Add(after).After(r.began)
		hits := f.app == nil || f.app == a || strings.HasPrefix(r.id, f.app.Name+"-")
		return near && hits
	})
}

// failedInPeace says that a request failed that was under way when servers only left in order or
// joined. Those to the one that left are not meant.
func (m *mesh) failedInPeace(r *request) bool {
	if !r.returned || r.code == "" || r.to != "" {
		return false
	}
	peace := false
	for _, f := range m.faults {
		if f.at.Add(-before).Before(r.end()) && f.until.Add(after).After(r.began) {
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
func overloaded(requests []*request, r *request) bool {
	var took []time.Duration
	for _, o := range requests {
		if o != r && o.kind == kindCall && o.accepted() && o.began.Before(r.end().Add(around)) && o.end().After(r.began.Add(-around)) {
			took = append(took, o.took)
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
func (m *mesh) measure(f *fault, requests []*request, next time.Time) {
	f.recovered, f.joined, f.felt = -1, -1, -1
	since := f.at
	if !f.since.IsZero() {
		since = f.since
	}
	for _, r := range requests {
		if f.joiner != nil && r.to == "" {
			for _, run := range r.runs {
				if d := max(0, run.at.Sub(f.joiner.ready)); run.by == f.joiner && (f.joined < 0 || d < f.joined) {
					f.joined = d
				}
			}
		}
		if r.to == "" && r.kind != kindFanout && (r.code != "" || r.took > slow) && r.began.After(f.at) && r.end().Before(next) {
			f.felt = max(f.felt, r.began.Sub(f.at))
		}
		ofVictim := f.victim == "" || r.to == f.victim || strings.HasPrefix(r.id, f.victim+"-")
		if d := r.end().Sub(since); r.kind == kindCall && r.accepted() && r.began.After(since) && ofVictim && (f.recovered < 0 || d < f.recovered) {
			f.recovered = d
		}
	}
}

// describe is a line for a request, and the faults about at that time.
func (m *mesh) describe(r *request) string {
	var b strings.Builder
	_, _ = fmt.Fprintf(&b, "%s %s %s at %s: ", r.kind, r.id, r.to, clock(r.began))
	switch {
	case !r.returned:
		b.WriteString("never returned")
	case r.code == "":
		_, _ = fmt.Fprintf(&b, "succeeded after %v", round(r.took))
	default:
		_, _ = fmt.Fprintf(&b, "%s after %v (%s)", r.code, round(r.took), r.text)
	}
	for _, run := range r.runs {
		_, _ = fmt.Fprintf(&b, "; run at %s by %s", clock(run.at), run.by.id)
	}
	for _, f := range m.faults {
		if f.at.Add(-before).Before(r.end()) && f.until.Add(after).After(r.began) {
			_, _ = fmt.Fprintf(&b, "\n\t\t%s-%s %s %s %s", clock(f.at), clock(f.until), f.kind, f.victim, f.note)
		}
	}
	return b.String()
}

func clock(t time.Time) string { return t.Format("05.000") }

func round(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

// String is what people read.
func (rep *report) String() string {
	var b strings.Builder
	_, _ = fmt.Fprintf(&b, "%d requests: %d calls answered, %d casts and fanouts accepted\n", rep.requests, rep.answered, rep.accepted)
	for _, code := range slices.Sorted(maps.Keys(rep.codes)) {
		_, _ = fmt.Fprintf(&b, "  %s: %d\n", code, rep.codes[code])
	}
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
			_, _ = fmt.Fprintf(&b, "  slow: %s %s at %s %s: recovered after %v, first work after %v\n", f.kind, f.victim, clock(f.at), f.note, round(f.recovered), round(f.joined))
		}
	}
	for _, line := range rep.broken {
		b.WriteString("  BROKEN " + line + "\n")
	}
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
	slices.Sort(all)
	return fmt.Sprintf("%s p50 %v max %v", what, round(all[len(all)/2]), round(all[len(all)-1]))
}

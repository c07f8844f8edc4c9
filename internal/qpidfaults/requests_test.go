// SPDX-License-Identifier: Apache-2.0

package qpidfaults

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/parleymq/parley/messaging"
)

// request is one request and its runs.
type request struct {
	id, kind, to string
	from         *app
	began        time.Time
	returned     bool
	took         time.Duration
	code, text   string
	runs         []execution
}

type execution struct {
	by *app
	at time.Time
}

// collect puts the ledgers together, in the order in which the requests began.
func (r *run) collect() ([]*request, error) {
	requests := make(map[string]*request)
	for _, c := range r.clients {
		lines, err := c.read()
		if err != nil {
			return nil, err
		}
		for _, l := range lines {
			q := &request{id: l.ID, kind: l.Kind, to: l.To, from: c, began: time.Unix(0, l.At)}
			if l.Done {
				q.returned, q.took, q.code, q.text = true, time.Duration(l.Took), l.Code, l.Text
			}
			requests[l.ID] = q
		}
	}
	for _, s := range r.servers {
		lines, err := s.read()
		if err != nil {
			return nil, err
		}
		for _, l := range lines {
			q := requests[l.ID]
			if q == nil {
				return nil, fmt.Errorf("%s ran %s, which nobody sent", s.Name, l.ID)
			}
			q.runs = append(q.runs, execution{s, time.Unix(0, l.At)})
		}
	}
	return slices.SortedFunc(maps.Values(requests), func(a, b *request) int { return a.began.Compare(b.began) }), nil
}

func (q *request) end() time.Time { return q.began.Add(q.took) }

func (q *request) accepted() bool { return q.returned && q.code == "" }

func (q *request) inDoubt() bool { return q.code == string(messaging.CodeInDoubt) }

// twice says that a request was run more than once: a fanout by the same server.
func (q *request) twice() bool {
	if q.kind != kindFanout {
		return len(q.runs) > 1
	}
	by := make(map[*app]bool)
	for _, one := range q.runs {
		if by[one.by] {
			return true
		}
		by[one.by] = true
	}
	return false
}

// hung says that its caller was kept longer than its time.
func (q *request) hung() bool { return !q.returned || q.took > requestTimeout+slack }

// uncoded says that it failed with a code that no fault explains, or none.
func (q *request) uncoded() bool {
	switch messaging.Code(q.code) {
	case "", messaging.CodeNoReply, messaging.CodeInDoubt, messaging.CodeExpired, messaging.CodeUnavailable:
		return false
	default:
		return true
	}
}

// untrue says that the code says it was not sent, and it was run; or that it was answered and not run.
func (q *request) untrue() bool {
	switch messaging.Code(q.code) {
	case messaging.CodeExpired, messaging.CodeUnavailable:
		return len(q.runs) > 0
	default:
		return q.kind == kindCall && q.accepted() && len(q.runs) == 0
	}
}

// unrun says that a cast was accepted and nobody ran it.
func (q *request) unrun() bool { return q.kind == kindCast && q.accepted() && len(q.runs) == 0 }

// describe is a line for a request, and the faults about at that time.
func (r *run) describe(q *request) string {
	var b strings.Builder
	_, _ = fmt.Fprintf(&b, "%s %s %s at %s: ", q.kind, q.id, q.to, clock(q.began))
	switch {
	case !q.returned:
		b.WriteString("never returned")
	case q.code == "":
		_, _ = fmt.Fprintf(&b, "succeeded after %v", round(q.took))
	default:
		_, _ = fmt.Fprintf(&b, "%s after %v (%s)", q.code, round(q.took), q.text)
	}
	for _, one := range q.runs {
		_, _ = fmt.Fprintf(&b, "; run at %s by %s", clock(one.at), one.by.Name)
	}
	for _, f := range r.faults {
		if f.overlaps(q, queueTime) {
			_, _ = fmt.Fprintf(&b, "\n\t\t%s, back %s, until %s: %s", clock(f.hit), clock(f.back), clock(f.until), f)
		}
	}
	return b.String()
}

// String names the fault and its victim.
func (f *fault) String() string {
	victim := ""
	if f.victim != nil {
		victim = f.victim.Name
	}
	return strings.TrimSpace(f.kind + " " + victim + " " + f.note)
}

// overlaps says that a request was under way, or up to lag later in a queue, while the fault was felt.
func (f *fault) overlaps(q *request, lag time.Duration) bool {
	return !f.at.After(q.end().Add(lag)) && !f.until.Before(q.began)
}

func clock(t time.Time) string { return t.Format("04:05.000") }

func round(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

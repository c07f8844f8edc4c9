// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/parleymq/parley/messaging"
)

// Slack is how much later than its time a caller may return, on a machine that does other things.
const Slack = 5 * time.Second

// Request is one request and its runs.
type Request struct {
	ID, Kind, To string
	From         string // the name of the client
	Began        time.Time
	Returned     bool
	Took         time.Duration
	Code, Text   string
	Runs         []Run
}

// Run is one run of a request.
type Run struct {
	By string // the ID of the Source
	At time.Time
}

// Source is the ledger of one application.
type Source struct {
	// ID tells applications apart that have one name.
	ID, Name string
	File     string
	Serves   bool
}

// Collect puts ledgers together, in the order in which the requests began.
func Collect(sources []Source) ([]*Request, error) {
	requests := make(map[string]*Request)
	for _, s := range sources {
		if s.Serves {
			continue
		}
		if err := s.requests(requests); err != nil {
			return nil, err
		}
	}
	for _, s := range sources {
		if !s.Serves {
			continue
		}
		if err := s.runs(requests); err != nil {
			return nil, err
		}
	}
	return slices.SortedFunc(maps.Values(requests), func(a, b *Request) int { return a.Began.Compare(b.Began) }), nil
}

// requests adds those of a client.
func (s Source) requests(all map[string]*Request) error {
	lines, err := Read(s.File)
	for _, l := range lines {
		q := &Request{ID: l.ID, Kind: l.Kind, To: l.To, From: s.Name, Began: time.Unix(0, l.At)}
		if l.Done {
			q.Returned, q.Took, q.Code, q.Text = true, time.Duration(l.Took), l.Code, l.Text
		}
		all[l.ID] = q
	}
	return err
}

// runs adds what a server ran to the requests.
func (s Source) runs(all map[string]*Request) error {
	lines, err := Read(s.File)
	for _, l := range lines {
		q := all[l.ID]
		switch {
		case q == nil:
			return fmt.Errorf("%s ran %s, which nobody sent", s.ID, l.ID)
		case !l.Done:
			q.Runs = append(q.Runs, Run{s.ID, time.Unix(0, l.At)})
		}
	}
	return err
}

// End is when it returned.
func (q *Request) End() time.Time { return q.Began.Add(q.Took) }

// Accepted says that it succeeded.
func (q *Request) Accepted() bool { return q.Returned && q.Code == "" }

// InDoubt says that its caller was told that nobody knows whether it was sent.
func (q *Request) InDoubt() bool { return q.Code == string(messaging.CodeInDoubt) }

// Unrun says that a cast was accepted and nobody ran it.
func (q *Request) Unrun() bool { return q.Kind == Cast && q.Accepted() && len(q.Runs) == 0 }

// Hung says that its caller was kept longer than its time.
func (q *Request) Hung(timeout time.Duration) bool { return !q.Returned || q.Took > timeout+Slack }

// RunBy says that an application ran it.
func (q *Request) RunBy(id string) bool {
	return slices.ContainsFunc(q.Runs, func(one Run) bool { return one.By == id })
}

// Twice says that a request was run more than once: a fanout by the same server.
func (q *Request) Twice() bool {
	if q.Kind != Fanout {
		return len(q.Runs) > 1
	}
	by := make(map[string]bool)
	for _, one := range q.Runs {
		if by[one.By] {
			return true
		}
		by[one.By] = true
	}
	return false
}

// String is a line for a request.
func (q *Request) String() string {
	var b strings.Builder
	_, _ = fmt.Fprintf(&b, "%s %s %s at %s: ", q.Kind, q.ID, q.To, Clock(q.Began))
	switch {
	case !q.Returned:
		b.WriteString("never returned")
	case q.Code == "":
		_, _ = fmt.Fprintf(&b, "succeeded after %v", Round(q.Took))
	default:
		_, _ = fmt.Fprintf(&b, "%s after %v (%s)", q.Code, Round(q.Took), q.Text)
	}
	for _, one := range q.Runs {
		_, _ = fmt.Fprintf(&b, "; run at %s by %s", Clock(one.At), one.By)
	}
	return b.String()
}

// Clock is a time as people compare it in a run.
func Clock(t time.Time) string { return t.Format("04:05.000") }

// Round is a time that took so long.
func Round(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

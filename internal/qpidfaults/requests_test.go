// SPDX-License-Identifier: Apache-2.0

package qpidfaults

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/parleymq/parley/internal/ledger"
	"github.com/parleymq/parley/messaging"
)

// collect puts the ledgers together, in the order in which the requests began.
func (r *run) collect() ([]*ledger.Request, error) {
	var sources []ledger.Source
	for _, a := range slices.Concat(r.clients, r.servers) {
		sources = append(sources, a.source())
	}
	return ledger.Collect(sources)
}

// hung says that its caller was kept longer than its time.
func hung(q *ledger.Request) bool { return q.Hung(requestTimeout) }

// uncoded says that it failed with a code that no fault explains, or none.
func uncoded(q *ledger.Request) bool {
	switch messaging.Code(q.Code) {
	case "", messaging.CodeNoReply, messaging.CodeInDoubt, messaging.CodeExpired, messaging.CodeUnavailable:
		return false
	default:
		return true
	}
}

// untrue says that the code says it was not sent, and it was run; or that it was answered and not run.
func untrue(q *ledger.Request) bool {
	switch messaging.Code(q.Code) {
	case messaging.CodeExpired, messaging.CodeUnavailable:
		return len(q.Runs) > 0
	default:
		return q.Kind == ledger.Call && q.Accepted() && len(q.Runs) == 0
	}
}

// describe is a line for a request, and the faults about at that time.
func (r *run) describe(q *ledger.Request) string {
	var b strings.Builder
	b.WriteString(q.String())
	for _, f := range r.faults {
		if f.overlaps(q, queueTime) {
			_, _ = fmt.Fprintf(&b, "\n\t\t%s, back %s, until %s: %s", ledger.Clock(f.hit), ledger.Clock(f.back), ledger.Clock(f.until), f)
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
func (f *fault) overlaps(q *ledger.Request, lag time.Duration) bool {
	return !f.at.After(q.End().Add(lag)) && !f.until.Before(q.Began)
}

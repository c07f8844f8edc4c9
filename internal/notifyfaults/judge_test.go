// SPDX-License-Identifier: Apache-2.0

package notifyfaults

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/parleymq/parley/messaging"
)

// shown is how many notifications of one broken promise are shown.
const shown = 5

// report is the judgement.
type report struct {
	sent, accepted int
	unknown        int            // sent by an application that was killed before it knew
	failed         map[string]int // by way of notifying and code
	lost           map[string]int // accepted and not handled, by pool
	handled        map[string]int // by pool
	duplicates     map[string]int // handled once more and not because the handler asked for it, by pool
	requeued       int
	failedAndHeard int // told to have failed for sure, and handled
	inWindow       int // of the duplicates, that their listener had to know
	disorder       int
	stray, untold  int // handled and never sent; came to no end
	wrong          int // failed in a way that no fault explains
	late           map[string]int
	faults         []*fault
	broken         []string
	seen           map[string]int // of each kind of broken
}

// note counts a broken promise and keeps the first of a kind.
func (rep *report) note(n *int, what, text string) {
	*n++
	if rep.seen[what]++; rep.seen[what] <= shown {
		rep.broken = append(rep.broken, what+": "+text)
	}
}

// fate is what became of a notification at its notifier.
type fate struct {
	by             *app
	sent, ended    int64
	accepted, told bool
	heard          bool // a listener handled it; set for those that failed
	text           string
}

// surelyFailed says that the notifier was told that nothing was sent.
func (f *fate) surelyFailed() bool {
	return f.told && strings.HasPrefix(f.text, string(messaging.CodeUnavailable))
}

// judging is a judgement in the making.
type judging struct {
	*report
	fates   map[number]*fate
	entries map[*app][]entry
	first   int64 // when the first fault was made
}

// judge compares the ledgers with the promises.
func (r *run) judge() (*report, error) {
	j := &judging{
		report: &report{
			failed: make(map[string]int), lost: make(map[string]int), handled: make(map[string]int), duplicates: make(map[string]int),
			late: make(map[string]int), faults: r.faults, seen: make(map[string]int),
		},
		fates: make(map[number]*fate), entries: make(map[*app][]entry), first: now(),
	}
	if len(r.faults) > 0 {
		j.first = r.faults[0].at.UnixNano()
	}
	all := make(names)
	pools := make(map[string][]*app)
	for _, a := range r.all {
		var err error
		if j.entries[a], err = all.read(a.Ledger); err != nil {
			return nil, err
		}
		if a.Role == roleNotifier {
			j.readFates(a)
		} else {
			pools[a.Listens.Pool] = append(pools[a.Listens.Pool], a)
		}
	}
	j.judgeFates()
	for _, pool := range slices.Sorted(maps.Keys(pools)) {
		j.judgePool(pool, pools[pool])
	}
	return j.report, nil
}

func (j *judging) readFates(a *app) {
	for _, e := range j.entries[a] {
		f := j.fates[e.number]
		if e.kind == entrySent {
			j.sent++
			j.fates[e.number] = &fate{by: a, sent: e.at}
			continue
		}
		f.told, f.accepted, f.text, f.ended = true, e.kind == entryAccepted, e.text, e.at
	}
}

// judgeFates looks at what the notifiers were told.
func (j *judging) judgeFates() {
	for n, f := range j.fates {
		switch {
		case !f.told && f.by.Killed():
			j.unknown++
		case !f.told:
			j.note(&j.untold, "came to no end", n.String())
		case f.accepted:
			j.accepted++
			if took := time.Duration(f.ended - f.sent); took > notifyTimeout+time.Second {
				j.note(&j.wrong, "took too long", fmt.Sprint(n, " ", took))
			}
		default:
			code, _, _ := strings.Cut(f.text, " ")
			j.failed[f.by.Notifies.Way+" "+code]++
			if f.by.Notifies.Way != wayOnce || !mayFail(code) {
				j.note(&j.wrong, "failed", fmt.Sprintf("%s after %v: %s", n, time.Duration(f.ended-f.sent), f.text))
			}
		}
	}
}

// mayFail are the codes of a notification that is sent once, when things break.
func mayFail(code string) bool {
	switch messaging.Code(code) {
	case messaging.CodeUnavailable, messaging.CodeInDoubt:
		return true
	default:
		return false
	}
}

// judgePool looks at what the listeners of a pool were given.
func (j *judging) judgePool(pool string, apps []*app) {
	handled, requeued := make(map[number]int), make(map[number]int)
	for _, a := range apps {
		for _, e := range j.entries[a] {
			if e.kind == entryRequeued {
				requeued[e.number]++
				j.requeued++
			} else if handled[e.number]++; j.fates[e.number] == nil {
				j.note(&j.stray, "handled and never sent", pool+": "+e.String())
			}
		}
		j.judgeWindow(a)
		if a.Listens.alone() {
			j.judgeOrder(a)
		}
	}
	name := pool
	if name == "" {
		name = "without a pool"
	}
	for n, f := range j.fates {
		times := handled[n]
		switch {
		case times == 0 && f.accepted:
			lost := j.lost[name]
			j.note(&lost, "lost", fmt.Sprintf("%s, accepted at %s, %s", n, clock(f.ended), name))
			j.lost[name] = lost
		case times > 0:
			j.handled[name]++
			j.duplicates[name] += max(0, times-1-requeued[n])
		}
		if times > 0 && f.surelyFailed() && !f.heard {
			f.heard = true
			j.note(&j.failedAndHeard, "failed for sure, and was handled", n.String()+" "+f.text)
		}
	}
}

// judgeWindow looks for what a listener handled twice though it had to remember the first time.
func (j *judging) judgeWindow(a *app) {
	last := make(map[number]int) // how many were handled before
	count := 0
	for _, e := range j.entries[a] {
		if e.kind == entryRequeued {
			delete(last, e.number)
			continue
		}
		count++
		if before, again := last[e.number]; again && count-before < a.Listens.Window {
			j.note(&j.inWindow, "handled twice within the window", fmt.Sprintf("%s by %s at %s, after %d others", e.number, a.id, clock(e.at), count-before-1))
		}
		last[e.number] = count
	}
}

// judgeOrder looks at the first time that a listener handled each notification.
func (j *judging) judgeOrder(a *app) {
	last := make(map[string]int)
	known := make(map[number]bool)
	for _, e := range j.entries[a] {
		f := j.fates[e.number]
		if e.kind != entryHandled || f == nil || known[e.number] {
			continue
		}
		known[e.number] = true
		switch {
		case !j.inOrder(f):
			if e.n < last[e.publisher] {
				j.late[f.by.Notifies.Way]++
			}
		case e.n < last[e.publisher]:
			j.note(&j.disorder, "out of order", fmt.Sprintf("%s by %s at %s, after %d", e.number, a.id, clock(e.at), last[e.publisher]))
			continue
		default:
			last[e.publisher] = e.n
		}
	}
}

// inOrder says that the order of a notification is promised: not when it was repeated while others
// of its publisher went on.
func (j *judging) inOrder(f *fate) bool {
	switch f.by.Notifies.Way {
	case wayNotify:
		return true
	case wayOnce:
		return f.accepted
	default:
		return f.accepted && f.ended < j.first
	}
}

func clock(at int64) string { return time.Unix(0, at).Format("05.000") }

// String is what people read.
func (rep *report) String() string {
	var b strings.Builder
	_, _ = fmt.Fprintf(&b, "%d sent, %d accepted, %d of unknown fate with an application that was killed; failed: %v; %d faults\n",
		rep.sent, rep.accepted, rep.unknown, rep.failed, len(rep.faults))
	for _, pool := range slices.Sorted(maps.Keys(rep.handled)) {
		_, _ = fmt.Fprintf(&b, "  %-16s handled %d, lost %d, duplicates handled %d\n", pool, rep.handled[pool], rep.lost[pool], rep.duplicates[pool])
	}
	_, _ = fmt.Fprintf(&b, "handlers asked %d times for one to come again; duplicates within a window %d, out of order %d (repeated and late, not promised: %v)\n",
		rep.requeued, rep.inWindow, rep.disorder, rep.late)
	_, _ = fmt.Fprintf(&b, "stray %d, without an end %d, wrongly failed %d, failed for sure and handled %d\n", rep.stray, rep.untold, rep.wrong, rep.failedAndHeard)
	kinds := make(map[string]int)
	for _, f := range rep.faults {
		kinds[f.kind]++
	}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		_, _ = fmt.Fprintf(&b, "  %-36s %3d times\n", kind, kinds[kind])
	}
	for _, line := range rep.broken {
		b.WriteString("  BROKEN " + line + "\n")
	}
	return b.String()
}

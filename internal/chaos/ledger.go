// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/parleymq/parley/messaging"
)

// codeWrong is that of a call whose answer belongs to another one, codeRemote that of an error
// which a handler returned.
const (
	codeWrong  = "wrong"
	codeRemote = "remote"
)

// errWrongAnswer is why a call is codeWrong.
var errWrongAnswer = errors.New("the answer belongs to another call")

// ledger has every request and every run of a handler. Times are since its beginning.
type ledger struct {
	began time.Time

	mu      sync.Mutex
	records []*record // by number; guarded by mu, with all that they hold
}

// record is one request.
type record struct {
	number  int
	cast    bool
	from    string // the end that sent it
	start   time.Duration
	timeout time.Duration

	returned bool
	took     time.Duration
	code     string // empty: answered or accepted
	text     string // of the error
	runs     []run
}

// run is one run of a handler.
type run struct {
	server string
	start  time.Duration
	done   bool // the handler was not cut off
	// redelivered: the broker said that it may have delivered the request before.
	redelivered bool
}

// runID says which run of which request.
type runID struct{ number, run int }

func newLedger() *ledger { return &ledger{began: time.Now()} }

func (l *ledger) now() time.Duration { return time.Since(l.began) }

// begin enters a request and returns its number.
func (l *ledger) begin(from string, cast bool, timeout time.Duration) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.records)
	l.records = append(l.records, &record{number: n, cast: cast, from: from, start: l.now(), timeout: timeout})
	return n
}

// end enters what a request returned with.
func (l *ledger) end(number int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.records[number]
	r.returned, r.took = true, l.now()-r.start
	if err != nil {
		r.code, r.text = codeOf(err), err.Error()
	}
}

func codeOf(err error) string {
	if errors.Is(err, errWrongAnswer) {
		return codeWrong
	}
	if _, ok := errors.AsType[*messaging.RemoteError](err); ok {
		return codeRemote
	}
	if code := messaging.CodeOf(err); code != "" {
		return string(code)
	}
	return err.Error()
}

// run enters that a handler begins.
func (l *ledger) run(ctx context.Context, number int, server string) runID {
	info, _ := messaging.RequestInfoFrom(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	if number < 0 || number >= len(l.records) {
		return runID{-1, -1} // nobody has sent that
	}
	r := l.records[number]
	r.runs = append(r.runs, run{server: server, start: l.now(), redelivered: info.Redelivered})
	return runID{number, len(r.runs) - 1}
}

// done enters that the handler was not cut off.
func (l *ledger) done(id runID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if id.number >= 0 {
		l.records[id.number].runs[id.run].done = true
	}
}

// waiting is how many requests have not returned, and how many accepted casts have not run.
func (l *ledger) waiting() (unreturned, unrun int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.records {
		switch {
		case !r.returned:
			unreturned++
		case r.isLost():
			unrun++
		}
	}
	return unreturned, unrun
}

// answeredSince reports whether a call of an end that began after at has been answered.
func (l *ledger) answeredSince(from string, at time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := len(l.records) - 1; i >= 0 && l.records[i].start > at; i-- {
		if r := l.records[i]; r.from == from && r.isAnswered() {
			return true
		}
	}
	return false
}

func (r *record) isAnswered() bool { return !r.cast && r.returned && r.code == "" }

// isLost says that a cast was accepted and no handler was done with it.
func (r *record) isLost() bool {
	return r.cast && r.returned && r.code == "" && r.finished() == 0
}

func (r *record) finished() int {
	n := 0
	for _, run := range r.runs {
		if run.done {
			n++
		}
	}
	return n
}

// ranTwice says that a call was run more than once, without the broker's word that it may have
// been: a server must know what it ran itself, and other servers must not be given it.
func (r *record) ranTwice() bool { return r.runsAgain() && !r.ranRedelivered() }

// ranRedelivered says that a call was run more than once by different servers, because the broker
// gave it to the next one: the first one's acknowledgement was lost with its connection.
func (r *record) ranRedelivered() bool {
	if !r.runsAgain() {
		return false
	}
	servers := map[string]bool{r.runs[0].server: true}
	for _, again := range r.runs[1:] {
		if !again.redelivered || servers[again.server] {
			return false
		}
		servers[again.server] = true
	}
	return true
}

func (r *record) runsAgain() bool { return !r.cast && len(r.runs) > 1 }

// hung says that its caller was kept longer than its time.
func (r *record) hung(slack time.Duration) bool { return !r.returned || r.took > r.timeout+slack }

// String is the record's line.
func (r *record) String() string {
	var b strings.Builder
	kind := "call"
	if r.cast {
		kind = "cast"
	}
	_, _ = fmt.Fprintf(&b, "%s %d of %s at %s, timeout %v: ", kind, r.number, r.from, clock(r.start), r.timeout)
	switch {
	case !r.returned:
		b.WriteString("never returned")
	case r.code == "" && r.cast:
		_, _ = fmt.Fprintf(&b, "accepted after %v", round(r.took))
	case r.code == "":
		_, _ = fmt.Fprintf(&b, "answered after %v", round(r.took))
	default:
		_, _ = fmt.Fprintf(&b, "%s after %v (%s)", r.code, round(r.took), r.text)
	}
	if len(r.runs) == 0 {
		b.WriteString("; not run")
	}
	for _, run := range r.runs {
		_, _ = fmt.Fprintf(&b, "; run at %s by %s", clock(run.start), run.server)
		if run.redelivered {
			b.WriteString(", redelivered")
		}
		if !run.done {
			b.WriteString(", cut off")
		}
	}
	return b.String()
}

// clock is a time of the run as people write it.
func clock(d time.Duration) string { return fmt.Sprintf("%.3fs", d.Seconds()) }

func round(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

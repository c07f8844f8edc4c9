// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/parleymq/parley/messaging"
)

// ledger has every call and every run of the method.
type ledger struct {
	mu    sync.Mutex
	calls map[int][]event // by number; guarded by mu
	runs  map[int][]event // guarded by mu
	oks   []event         // answered, in the order of their coming; guarded by mu
	// regiven is when an application was killed whose broker may give to others what it had
	// accepted; guarded by mu.
	regiven map[*app]time.Time
}

func newLedger() *ledger {
	return &ledger{calls: make(map[int][]event), runs: make(map[int][]event), regiven: make(map[*app]time.Time)}
}

func (l *ledger) add(e event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch e.Event {
	case "exec":
		l.runs[e.N] = append(l.runs[e.N], e)
	case "call":
		l.calls[e.N] = append(l.calls[e.N], e)
		if e.Code == "" {
			l.oks = append(l.oks, e)
		}
	}
}

// answered is how many calls that began after at have been answered.
func (l *ledger) answered(at time.Time) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, e := range slices.Backward(l.oks) {
		if e.Start > at.UnixNano() {
			n++
		} else if e.end() < at.Add(-laggard).UnixNano() {
			break
		}
	}
	return n
}

// mayRegive notes that an application is killed, on a wire whose broker may give to another what
// this one had accepted just now.
func (l *ledger) mayRegive(a *app) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.regiven[a] = time.Now()
}

// ackTime is how long before an application is killed it may have accepted what its broker does not
// know of.
const ackTime = time.Second

// excused says that a call was run by two servers, of which the first was killed as it accepted it.
// It needs mu.
func (l *ledger) excused(runs []event) bool {
	if len(runs) != 2 || runs[0].by == runs[1].by {
		return false
	}
	first := runs[0]
	if runs[1].Start < first.Start {
		first = runs[1]
	}
	killed, ok := l.regiven[first.by]
	return ok && first.Start > killed.Add(-ackTime).UnixNano()
}

// leftovers are the calls of applications that were run.
func (l *ledger) leftovers() []int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(slices.Sorted(maps.Keys(l.runs)), func(n int) bool { return n < 0 })
}

// laggard bounds how much later than others an event of the same time is read.
const laggard = 5 * time.Second

// end is when a call returned.
func (e event) end() int64 { return e.Start + int64(e.Took) }

// inDoubt says that the caller was told that nobody knows whether the broker has its request.
func (e event) inDoubt() bool { return e.Code == string(messaging.CodeInDoubt) }

// failed is how many calls that began after at have failed.
func (l *ledger) failed(at time.Time) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, es := range l.calls {
		for _, e := range es {
			if e.Start > at.UnixNano() && e.Code != "" {
				n++
			}
		}
	}
	return n
}

// recovery is how long after at the first call succeeded that began after it.
func (l *ledger) recovery(at time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	var first int64
	for _, e := range l.oks {
		if e.Start > at.UnixNano() && (first == 0 || e.end() < first) {
			first = e.end()
		}
	}
	return time.Duration(first - at.UnixNano())
}

// summary is what a test found.
type summary struct {
	Test          string         `json:"test"`
	Faults        int            `json:"faults"`
	Calls         int            `json:"calls"`
	OK            int            `json:"ok"`
	Errors        map[string]int `json:"errors"` // by code
	ExecutedTwice int            `json:"executed_twice"`
	Regiven       int            `json:"executed_by_two"` // and excused, see ledger
	NotExecuted   int            `json:"answered_and_not_executed"`
	Unreturned    int            `json:"unreturned"`
	InDoubt       int            `json:"in_doubt"`       // of the errors
	FailedAndRun  int            `json:"failed_and_run"` // of the errors
	LongestMS     float64        `json:"longest_call_ms"`
	TimeoutMS     float64        `json:"timeout_ms"`
	RecoveryP50MS float64        `json:"recovery_p50_ms"`
	RecoveryMaxMS float64        `json:"recovery_max_ms"`
}

// lost is how many calls have no answer.
func (s summary) lost() int { return s.Calls + s.Unreturned - s.OK }

func (s summary) String() string {
	return fmt.Sprintf("%d calls, %d answered, errors %v (%d in doubt, %d run), %d never returned, %d without an answer; %d run twice, %d more by two servers, %d answered and not run; longest call %.0f ms, timeout %.0f ms",
		s.Calls, s.OK, s.Errors, s.InDoubt, s.FailedAndRun, s.Unreturned, s.lost(), s.ExecutedTwice, s.Regiven, s.NotExecuted, s.LongestMS, s.TimeoutMS)
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// spacing is between the first calls of two clients that follow each other.
const spacing = 1_000_000

// gaps counts the numbers that are missing, but for those between two clients.
func gaps(numbers []int) int {
	missing, before := 0, 0
	for _, n := range numbers {
		if gap := n - before - 1; gap < spacing/2 {
			missing += gap
		}
		before = n
	}
	return missing
}

// check judges the ledger when all applications have ended, and notes the figures. A
// client that was killed leaves calls that never returned; who killed none checks for them.
func (l *ledger) check(t *testing.T, timeout time.Duration, faults int, recoveries []time.Duration) summary {
	t.Helper()
	s := l.judge(t, timeout)
	s.Faults = faults
	if len(recoveries) > 0 {
		t.Logf("calls succeeded again after %v", recoveries)
		slices.Sort(recoveries)
		s.RecoveryP50MS, s.RecoveryMaxMS = millis(recoveries[len(recoveries)/2]), millis(recoveries[len(recoveries)-1])
	}
	t.Log(s)
	figures.add(s)
	return s
}

// judge is check of what is in the ledger so far; it notes nothing.
func (l *ledger) judge(t *testing.T, timeout time.Duration) summary {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	s := summary{Test: t.Name(), Calls: len(l.calls), Errors: map[string]int{}, TimeoutMS: millis(timeout)}
	var longest time.Duration
	for n, events := range l.calls {
		if len(events) != 1 {
			t.Errorf("call %d returned %d times", n, len(events))
		}
		e := events[0]
		longest = max(longest, e.Took)
		if e.Took > timeout+returnSlack {
			t.Errorf("call %d took %v with a timeout of %v: %s", n, e.Took, timeout, e.Error)
		}
		switch {
		case e.Code != "":
			s.Errors[e.Code]++
			if e.inDoubt() {
				s.InDoubt++
			}
			if len(l.runs[n]) > 0 {
				s.FailedAndRun++
			}
			if s.Errors[e.Code] == 1 {
				t.Logf("first error of code %s, after %v: %s", e.Code, e.Took.Round(time.Millisecond), e.Error)
			}
		default:
			s.OK++
			if len(l.runs[n]) == 0 {
				s.NotExecuted++
			}
		}
	}
	s.Unreturned = gaps(slices.Sorted(maps.Keys(l.calls)))
	for n, runs := range l.runs {
		switch {
		case len(runs) < 2:
		case l.excused(runs):
			s.Regiven++
		default:
			s.ExecutedTwice++
			t.Errorf("call %d was executed %d times", n, len(runs))
		}
	}
	if most := callers * len(l.regiven); s.Regiven > most { // what was under way
		t.Errorf("%d calls were executed by two servers, and %d could be excused", s.Regiven, most)
	}
	if s.NotExecuted > 0 {
		t.Errorf("%d calls were answered and not executed", s.NotExecuted)
	}
	if bad := s.Errors["wrong"] + s.Errors["remote"] + s.Errors["internal"]; bad > 0 {
		t.Errorf("%d calls failed in a way that no fault explains", bad)
	}
	s.LongestMS = millis(longest)
	return s
}

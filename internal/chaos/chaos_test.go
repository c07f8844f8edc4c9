// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

// shortly runs with what a test gives to all runs.
func shortly(t *testing.T, o Options) *Report {
	t.Helper()
	logs := testbed.NewLogs(t)
	if errors.Is(errBroker, peertest.ErrMissing) && os.Getenv("PARLEY_TEST_OPTIONAL") == "1" {
		t.Skipf("NOT PROVEN: %s: %v", t.Name(), errBroker)
	}
	if errBroker != nil {
		t.Fatal(errBroker)
	}
	o.Driver, o.Broker = driverBuilt, broker
	o.Logger = slog.New(slog.NewTextHandler(logs, nil)) // at level info: debug costs too much time
	if testbed.RaceEnabled() {
		// The race detector takes its time, of healthy drivers too.
		o.HeartbeatTimeout = 2 * time.Second
	}
	report, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := report.Write(&text); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + text.String())
	return report
}

// TestChaos is the short form of "make chaos": each kind of fault at both ends.
func TestChaos(t *testing.T) {
	const perKind = 4
	report := shortly(t, Options{Duration: 15 * time.Second, PerKind: perKind})
	if len(report.Broken) > 0 {
		t.Error("promises were broken")
	}
	if report.Answered == 0 || report.Accepted == 0 {
		t.Error("nothing was answered or accepted: the test proves nothing")
	}
	for _, sentence := range report.NotProven() {
		t.Log("NOT PROVEN: " + sentence)
	}
	for _, f := range report.Faults {
		if want := f.Kind.count(perKind); !f.Unsupported && f.Made+f.Failed < want {
			t.Errorf("%s was made %d times, want %d", f.Kind, f.Made, want)
		}
	}
}

// TestChaosFindsWhatIsBroken breaks each promise once: a check that cannot fail is none.
func TestChaosFindsWhatIsBroken(t *testing.T) {
	report := shortly(t, Options{
		Duration: 100 * time.Millisecond, PerKind: 2, Only: []Kind{SlowHandler}, Sabotage: Sabotages(), drainLimit: time.Second,
	})
	for what, found := range map[string]int{
		"accepted but lost": report.Lost, "run twice": report.RunTwice, "hung": report.Hung, "left": len(report.Left),
		"goroutines": report.GoroutinesLeft,
	} {
		if found != 1 {
			t.Errorf("%s: %d were found, 1 was made", what, found)
		}
	}
	for _, line := range []string{"accepted and lost: cast ", "run twice: call ", "hung: call ", "left behind: [", "1 goroutines are left"} {
		if !slices.ContainsFunc(report.Broken, func(s string) bool { return strings.HasPrefix(s, line) }) {
			t.Errorf("no line begins with %q: %q", line, report.Broken)
		}
	}
}

func TestPlanIsThatOfItsSeed(t *testing.T) {
	const perKind = 10
	first := plan(1, time.Minute, perKind)
	if !slices.Equal(first, plan(1, time.Minute, perKind)) {
		t.Error("one seed, two plans")
	}
	if slices.Equal(first, plan(2, time.Minute, perKind)) {
		t.Error("two seeds, one plan")
	}
	ends := map[Kind][2]int{}
	for i, p := range first {
		if p.at < 0 || p.at > time.Minute || i > 0 && p.at < first[i-1].at {
			t.Errorf("fault %d is at %v", i, p.at)
		}
		n := ends[p.kind]
		n[p.hits(2)]++
		ends[p.kind] = n
	}
	for _, kind := range Kinds() {
		want := [2]int{perKind / 2, perKind / 2}
		if kind == KillBroker {
			want = [2]int{1, 0}
		}
		if ends[kind] != want {
			t.Errorf("%s hits the ends %v times, want %v", kind, ends[kind], want)
		}
	}
}

// changed is a record that broke nothing, changed by f.
func changed(cast bool, f func(*record)) *record {
	r := &record{cast: cast, from: "client", timeout: time.Second, returned: true, took: time.Millisecond, runs: []run{{server: "a", done: true}}}
	f(r)
	return r
}

func TestJudgeRecords(t *testing.T) {
	again := func(r *record) { r.runs = append(r.runs, run{server: "b", done: true}) }
	redelivered := func(r *record) { again(r); r.runs[1].redelivered = true }
	for _, tc := range []struct {
		name string
		cast bool
		f    func(*record)
		want string
	}{
		{"answered", false, func(*record) {}, ""},
		{"accepted", true, func(*record) {}, ""},
		{"accepted and not run", true, func(r *record) { r.runs = nil }, "lost"},
		{"accepted and cut off", true, func(r *record) { r.runs[0].done = false }, "lost"},
		{"cut off and run again", true, func(r *record) { r.runs[0].done = false; again(r) }, ""},
		{"refused and not run", true, func(r *record) { r.runs, r.code = nil, "unavailable" }, ""},
		{"cast run again", true, again, ""},
		{"call run again", false, again, "twice"},
		{"call run again by the same server", false, func(r *record) { redelivered(r); r.runs[1].server = "a" }, "twice"},
		{"call run by another after a lost acknowledgement", false, redelivered, "redelivered"},
		{"third run without a word", false, func(r *record) { redelivered(r); r.runs = append(r.runs, run{server: "c"}) }, "twice"},
		{"late", false, func(r *record) { r.took = 3 * time.Second }, "hung"},
		{"never", false, func(r *record) { r.returned = false }, "hung"},
		{"no reply", false, func(r *record) { r.code, r.runs = "no_reply", nil }, ""},
		{"wrong answer", false, func(r *record) { r.code = codeWrong }, "unexplained"},
		{"handler failed", false, func(r *record) { r.code = codeRemote }, "unexplained"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := changed(tc.cast, tc.f)
			var got []string
			for what, is := range map[string]bool{
				"lost": r.isLost(), "twice": r.ranTwice(), "redelivered": r.ranRedelivered(), "hung": r.hung(time.Second), "unexplained": r.isUnexplained(),
			} {
				if is {
					got = append(got, what)
				}
			}
			if strings.Join(got, " ") != tc.want {
				t.Errorf("%s: judged %q, want %q", r, got, tc.want)
			}
		})
	}
}

func TestRecoveries(t *testing.T) {
	const ms = time.Millisecond
	var records []*record
	for _, call := range []struct{ start, took time.Duration }{{0, 10 * ms}, {20 * ms, 500 * ms}, {30 * ms, 5 * ms}, {40 * ms, 100 * ms}} {
		records = append(records, &record{from: "client", start: call.start, returned: true, took: call.took})
	}
	records = append(records, &record{from: "client", start: 50 * ms, returned: true, code: "no_reply"},
		&record{from: "server", start: 51 * ms, returned: true, took: ms})
	b := newRecoveries(records, "client")
	for _, tc := range []struct{ at, want time.Duration }{{-1, 10 * ms}, {0, 35 * ms}, {20 * ms, 35 * ms}, {30 * ms, 140 * ms}, {40 * ms, -1}} {
		if got := b.after(tc.at); got != tc.want {
			t.Errorf("after %v the first answer is at %v, want %v", tc.at, got, tc.want)
		}
	}
}

func TestUnknownSabotage(t *testing.T) {
	if _, err := Run(context.Background(), Options{Sabotage: []string{"rain"}}); err == nil {
		t.Error("accepted")
	}
}

func TestCodes(t *testing.T) {
	for code, err := range map[string]error{
		codeWrong: errWrongAnswer, codeRemote: &messaging.RemoteError{}, "no_reply": messaging.ErrNoReply, "context canceled": context.Canceled,
	} {
		if got := codeOf(err); got != code {
			t.Errorf("%v: code %q, want %q", err, got, code)
		}
	}
}

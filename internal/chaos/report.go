// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/parleymq/parley/messaging"
)

// Report is what a run found.
type Report struct {
	Seed     uint64        `json:"seed"`
	Duration time.Duration `json:"duration_ns"`

	Calls      int            `json:"calls"`
	Answered   int            `json:"calls_answered"`
	CallErrors map[string]int `json:"call_errors"`
	Casts      int            `json:"casts"`
	Accepted   int            `json:"casts_accepted"`
	CastErrors map[string]int `json:"cast_errors"`
	// CastsRunAgain is how many accepted casts were run more than once, which is what
	// AckAfterHandler opts in to.
	CastsRunAgain int           `json:"casts_run_again"`
	LongestAnswer time.Duration `json:"longest_answer_ns"`
	DriverStarts  int           `json:"driver_starts"`

	// The promises: all are to be 0.
	Lost     int `json:"accepted_and_lost"`
	RunTwice int `json:"calls_run_twice"`
	// RunRedelivered is how many calls two servers have run because the broker gave them to the
	// second one too; see Options.Strict.
	RunRedelivered int      `json:"calls_run_by_two_after_a_lost_ack"`
	Hung           int      `json:"callers_hung"`
	NotRun         int      `json:"answered_and_not_run"`
	Unexplained    int      `json:"failed_unexplained"`
	Left           []string `json:"left_behind"`

	GoroutinesLeft   int `json:"goroutines_left"`
	GoroutinesBefore int `json:"goroutines_before"`
	GoroutinesAfter  int `json:"goroutines_after"`
	FilesBefore      int `json:"files_before"`
	FilesAfter       int `json:"files_after"`

	Faults []FaultSummary `json:"faults"`
	// Broken has a line for each promise that was broken, and the faults around it. It is empty
	// when all were kept.
	Broken []string `json:"broken"`
	// Known has lines for known limits that were met.
	Known []string `json:"known_limits,omitempty"`
}

// FaultSummary is what one kind of fault did. Recoveries are from the fault until calls that
// began after it were answered in both directions; Alone are those of faults with no other about.
type FaultSummary struct {
	Kind Kind           `json:"kind"`
	Made int            `json:"made"`
	Ends map[string]int `json:"made_by_end"`
	// Failed is how many faults did not come about as they were meant to, and Why has what they
	// failed with, each once.
	Failed      int      `json:"failed"`
	Why         []string `json:"why,omitempty"`
	Unsupported bool     `json:"unsupported"`
	Outage      Spread   `json:"outage"` // that was made
	Recovery    Spread   `json:"recovery"`
	Alone       Spread   `json:"recovery_alone"`
}

// Spread is the middle and the end of some times.
type Spread struct {
	Count int           `json:"count"`
	P50   time.Duration `json:"p50_ns"`
	Max   time.Duration `json:"max_ns"`
}

func newSpread(all []time.Duration) Spread {
	if len(all) == 0 {
		return Spread{}
	}
	slices.Sort(all)
	return Spread{Count: len(all), P50: all[len(all)/2], Max: all[len(all)-1]}
}

func summarize(kind Kind, all []*fault) FaultSummary {
	s := FaultSummary{Kind: kind, Ends: map[string]int{}}
	var (
		outages    = make([]time.Duration, 0, len(all))
		recoveries = make([]time.Duration, 0, len(all))
		alone      = make([]time.Duration, 0, len(all))
	)
	for _, f := range all {
		switch {
		case f.kind != kind:
			continue
		case errors.Is(f.err, messaging.ErrUnsupported):
			s.Unsupported = true
			continue
		case f.err != nil:
			s.Failed++
			if why := f.err.Error(); len(s.Why) < linesShown && !slices.Contains(s.Why, why) {
				s.Why = append(s.Why, why)
			}
			continue
		}
		s.Made++
		s.Ends[cmp.Or(f.end, "broker")]++
		outages = append(outages, f.until-f.start)
		if f.healed > 0 {
			recoveries = append(recoveries, f.healed-f.start)
		}
		if f.alone && f.healed > 0 {
			alone = append(alone, f.healed-f.start)
		}
	}
	s.Outage, s.Recovery, s.Alone = newSpread(outages), newSpread(recoveries), newSpread(alone)
	return s
}

// broken notes that a promise was broken.
func (rep *Report) broken(format string, args ...any) {
	rep.Broken = append(rep.Broken, fmt.Sprintf(format, args...))
}

// NotProven has a sentence for each kind of fault that could not be made.
func (rep *Report) NotProven() []string {
	var all []string
	for _, f := range rep.Faults {
		if f.Unsupported {
			all = append(all, fmt.Sprintf("%s: it is not supported", f.Kind))
		}
	}
	return all
}

// Write writes the report for people.
func (rep *Report) Write(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(w, "chaos for %v, seed %d, %d driver processes\n\n", rep.Duration, rep.Seed, rep.DriverStarts)
	rep.writePromises(w)
	rep.writeFaults(w)
	if err := w.Flush(); err != nil {
		return err
	}
	return rep.writeNotes(out)
}

func (rep *Report) writePromises(w io.Writer) {
	row := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\t\n", args...) }
	row("promise\twanted\tfound")
	row("accepted but lost\t0\t%d", rep.Lost)
	row("callers hung\t0\t%d", rep.Hung)
	row("calls run twice\t0\t%d", rep.RunTwice)
	row("calls run by two servers after a lost acknowledgement\tknown limit\t%d", rep.RunRedelivered)
	row("calls answered and not run\t0\t%d", rep.NotRun)
	row("requests failed without a reason\t0\t%d", rep.Unexplained)
	row("processes, sockets, directories left\t0\t%d", len(rep.Left))
	row("goroutines left\t0\t%d", rep.GoroutinesLeft)
	row("open files more than before\t0\t%d", max(0, rep.FilesAfter-rep.FilesBefore))
	_, _ = fmt.Fprintf(w, "\n%d calls, %d answered (longest after %v); errors: %s\n", rep.Calls, rep.Answered, round(rep.LongestAnswer), list(rep.CallErrors))
	_, _ = fmt.Fprintf(w, "%d casts, %d accepted, of which %d were run again (at least once); errors: %s\n\n", rep.Casts, rep.Accepted, rep.CastsRunAgain, list(rep.CastErrors))
}

func (rep *Report) writeFaults(w io.Writer) {
	row := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\t\n", args...) }
	row("fault\tclient\tserver\tfailed\toutage p50\trecovery p50\tmax\talone\tp50\tmax")
	for _, f := range rep.Faults {
		client, server := strconv.Itoa(f.Ends["client"]), strconv.Itoa(f.Ends["server"])
		if f.Kind.hitsBroker() {
			client, server = strconv.Itoa(f.Ends["broker"]), "both"
		}
		row("%s\t%s\t%s\t%d\t%v\t%v\t%v\t%d\t%v\t%v", f.Kind, client, server, f.Failed, round(f.Outage.P50),
			round(f.Recovery.P50), round(f.Recovery.Max), f.Alone.Count, round(f.Alone.P50), round(f.Alone.Max))
	}
}

func (rep *Report) writeNotes(out io.Writer) error {
	var b strings.Builder
	b.WriteString("\nRecovery: from the fault until calls that began after it were answered in both directions, whatever else\n" +
		"was broken meanwhile; alone: with no other fault about. It includes the outage that was made.\n")
	for _, f := range rep.Faults {
		for _, why := range f.Why {
			_, _ = fmt.Fprintf(&b, "%s failed: %s\n", f.Kind, why)
		}
	}
	for _, sentence := range rep.NotProven() {
		_, _ = fmt.Fprintf(&b, "NOT PROVEN: %s\n", sentence)
	}
	for _, line := range rep.Known {
		_, _ = fmt.Fprintf(&b, "KNOWN LIMIT: %s\n", line)
	}
	if len(rep.Broken) == 0 {
		b.WriteString("all promises kept\n")
	} else {
		b.WriteString("BROKEN:\n")
	}
	for _, line := range rep.Broken {
		b.WriteString("  " + line + "\n")
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// list writes counts by name, sorted.
func list(counts map[string]int) string {
	if len(counts) == 0 {
		return "none"
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%s %d", name, counts[name]))
	}
	return strings.Join(parts, ", ")
}

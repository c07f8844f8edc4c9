// SPDX-License-Identifier: Apache-2.0

package cost

import (
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
	"time"
)

// Report is everything that was measured.
type Report struct {
	Starts   []Start  `json:"starts"`
	Idle     []Idle   `json:"idle"`
	Units    []Unit   `json:"units"`
	Boundary []string `json:"boundary,omitempty"` // lines of Go's benchmark
}

// Start is how long an application took to its first answer, once for each run.
type Start struct {
	What string `json:"what"`
	// Total is from before the process was started; the others are within it.
	Total []time.Duration `json:"total"`
	Open  []time.Duration `json:"open"`
	Serve []time.Duration `json:"serve"`
	Call  []time.Duration `json:"call"`
}

// Add adds a run.
func (s *Start) Add(total time.Duration, in Started) {
	s.Total = append(s.Total, total)
	s.Open, s.Serve, s.Call = append(s.Open, in.Open), append(s.Serve, in.Serve), append(s.Call, in.Call)
}

// Idle is a process that does nothing.
type Idle struct {
	What  string `json:"what"`
	Usage Usage  `json:"usage"`
}

// Unit is what N more of something cost: the difference of two measurements.
type Unit struct {
	What string   `json:"what"`
	N    int      `json:"n"`
	Few  Measured `json:"few"`
	Many Measured `json:"many"`
}

// Print writes the tables.
func (r *Report) Print(w io.Writer) error {
	t := &tables{tw: tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)}
	t.starts(r.Starts)
	t.idle(r.Idle)
	t.units(r.Units)
	if len(r.Boundary) > 0 {
		t.line("\nthe boundary alone\n")
		t.flush()
		for _, line := range r.Boundary {
			t.printf(w, "%s\n", line)
		}
	}
	return t.err
}

// tables writes; the first error stays.
type tables struct {
	tw  *tabwriter.Writer
	err error
}

func (t *tables) printf(w io.Writer, format string, args ...any) {
	if _, err := fmt.Fprintf(w, format, args...); t.err == nil {
		t.err = err
	}
}

func (t *tables) line(format string, args ...any) { t.printf(t.tw, format, args...) }

func (t *tables) flush() {
	if err := t.tw.Flush(); t.err == nil {
		t.err = err
	}
}

func (t *tables) starts(all []Start) {
	if len(all) == 0 {
		return
	}
	t.line("\nfrom the start of the application to its first answer, %d runs, milliseconds\n", len(all[0].Total))
	t.line("transport\tmedian\tmin\tmax\topen\tserve\tcall\t\n")
	for _, s := range all {
		t.line("%s\t%.1f\t%.1f\t%.1f\t%.1f\t%.1f\t%.1f\t\n", s.What,
			ms(median(s.Total)), ms(slices.Min(s.Total)), ms(slices.Max(s.Total)),
			ms(median(s.Open)), ms(median(s.Serve)), ms(median(s.Call)))
	}
	t.flush()
}

func (t *tables) idle(all []Idle) {
	t.line("\nidle processes, MiB\n")
	t.line("process\tPSS\tRSS\theap\tgoroutines\tdescriptors\tthreads\t\n")
	for _, i := range all {
		u := i.Usage
		t.line("%s\t%.1f\t%.1f\t%s\t%s\t%d\t%d\t\n", i.What, mib(u.PSS), mib(u.RSS),
			known(u.Heap, "%.1f", mib(u.Heap)), known(int64(u.Goroutines), "%.0f", float64(u.Goroutines)), u.Descriptors, u.Threads)
	}
	t.flush()
}

func (t *tables) units(all []Unit) {
	t.line("\nwhat one more costs, KiB\n")
	t.line("one\tof\tapp PSS\tits heap\tits stacks\tgoroutines\tdescriptors\tdriver PSS\tgoroutines\tdescriptors\t\n")
	for _, u := range all {
		each := func(of func(Measured) float64) float64 { return hundredths((of(u.Many) - of(u.Few)) / float64(u.N)) }
		t.line("%s\t%d\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%s\t%.2f\t\n", u.What, u.N,
			each(func(m Measured) float64 { return kib(m.App.PSS) }),
			each(func(m Measured) float64 { return kib(m.App.Heap) }),
			each(func(m Measured) float64 { return kib(m.App.Stacks) }),
			each(func(m Measured) float64 { return float64(m.App.Goroutines) }),
			each(func(m Measured) float64 { return float64(m.App.Descriptors) }),
			each(func(m Measured) float64 { return kib(m.Driver.PSS) }),
			known(int64(u.Many.Driver.Goroutines), "%.2f", each(func(m Measured) float64 { return float64(m.Driver.Goroutines) })),
			each(func(m Measured) float64 { return float64(m.Driver.Descriptors) }))
	}
	t.flush()
}

// known formats a value, unless n says that nobody knows it.
func known(n int64, format string, value float64) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprintf(format, value)
}

// hundredths rounds, and makes no negative zero.
func hundredths(v float64) float64 { return math.Round(v*100)/100 + 0 }

func median(of []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(of))
	return sorted[len(sorted)/2]
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }

func kib(bytes int64) float64 { return float64(bytes) / (1 << 10) }

// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// Measurement is one run of one contender.
type Measurement struct {
	Contender string  `json:"contender"`
	Load      Load    `json:"load"`
	Result    Result  `json:"result"`
	CPU       float64 `json:"cpu_seconds"`        // of the contender's processes
	BrokerCPU float64 `json:"broker_cpu_seconds"` // of the broker meanwhile
}

// Report holds all measurements in the order they were made.
type Report struct {
	Measurements []Measurement `json:"measurements"`
}

// Add appends a measurement.
func (r *Report) Add(m Measurement) { r.Measurements = append(r.Measurements, m) }

// of returns the measurements of a contender at a load, round by round.
func (r *Report) of(contender string, load Load) []Measurement {
	var all []Measurement
	for _, m := range r.Measurements {
		if m.Contender == contender && m.Load.Is(load) {
			all = append(all, m)
		}
	}
	return all
}

// Is tells whether both ask for the same, for however long.
func (l Load) Is(o Load) bool {
	l.Seconds = o.Seconds
	return l == o
}

// contenders returns the names in the order of their first measurement.
func (r *Report) contenders() []string {
	var names []string
	for _, m := range r.Measurements {
		if !slices.Contains(names, m.Contender) {
			names = append(names, m.Contender)
		}
	}
	return names
}

// Print writes the table of one load: medians, and the median of the rounds' ratios to Parley
// with their spread.
func (r *Report) Print(w io.Writer, load Load) {
	what := "calls"
	if load.Cast {
		what = "casts"
	}
	r.PrintAs(w, load, what, fmt.Sprintf("%s, %d in flight", what, load.InFlight))
}

// PrintAs is Print of a load with another title, whose unit is what.
func (r *Report) PrintAs(w io.Writer, load Load, what, title string) {
	_, _ = fmt.Fprintf(w, "\n%s\n", title)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(tw, "contender\t"+what+"/s\tp50 us\tp99 us\tCPU s/1000\tbroker s/1000\terrors\tparley is, rate\tparley is, p50\t")
	parley := r.of("parley", load)
	for _, name := range r.contenders() {
		ms := r.of(name, load)
		if len(ms) == 0 {
			continue // it did not take part
		}
		broker := "none"
		if cost := Median(ms, brokerPerThousand); cost > 0 {
			broker = fmt.Sprintf("%.3f", cost)
		}
		errors := 0
		for _, m := range ms {
			errors += m.Result.Errors
		}
		_, _ = fmt.Fprintf(tw, "%s\t%.0f\t%s\t%s\t%.3f\t%s\t%d\t%s\t%s\t\n", name,
			Median(ms, Rate), known(ms, P50), known(ms, P99), Median(ms, CPUPerThousand), broker,
			errors, Ratios(parley, ms, Rate), Ratios(parley, ms, P50))
	}
	_ = tw.Flush() // writes to the same place as everything else
	for _, m := range r.Measurements {
		if m.Load.Is(load) && m.Result.Error != "" {
			_, _ = fmt.Fprintf(w, "  %s: first error: %s\n", m.Contender, strings.SplitN(m.Result.Error, "\n", 2)[0])
		}
	}
}

// known is a median, where it was measured.
func known(ms []Measurement, of func(Measurement) float64) string {
	if m := Median(ms, of); m > 0 {
		return fmt.Sprintf("%.0f", m)
	}
	return "-"
}

// Rate is a measurement's calls or casts a second.
func Rate(m Measurement) float64 { return m.Result.PerSecond() }

// P50 is the median time of a call, in microseconds.
func P50(m Measurement) float64 { return m.Result.P50 }

// P99 is the time of a call that one in a hundred takes longer than, in microseconds.
func P99(m Measurement) float64 { return m.Result.P99 }

// CPUPerThousand is what a thousand calls cost the contender, in seconds of processor time.
func CPUPerThousand(m Measurement) float64 { return 1000 * m.CPU / float64(m.Result.Calls) }

func brokerPerThousand(m Measurement) float64 { return 1000 * m.BrokerCPU / float64(m.Result.Calls) }

// Median is that of one figure over all rounds.
func Median(ms []Measurement, of func(Measurement) float64) float64 {
	if len(ms) == 0 {
		return 0
	}
	values := make([]float64, len(ms))
	for i, m := range ms {
		values[i] = of(m)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// Ratios compares a figure of a with that of b round by round, since the machine's speed
// drifts: the median, and the least and the most.
func Ratios(a, b []Measurement, of func(Measurement) float64) string {
	n := min(len(a), len(b))
	if n == 0 {
		return "-"
	}
	values := make([]float64, n)
	for i := range n {
		if of(a[i]) == 0 || of(b[i]) == 0 {
			return "-" // one of them cannot tell
		}
		values[i] = of(a[i]) / of(b[i])
	}
	slices.Sort(values)
	return fmt.Sprintf("%.2fx (%.2f-%.2f)", values[n/2], values[0], values[n-1])
}

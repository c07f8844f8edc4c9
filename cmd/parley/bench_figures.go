// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/parleymq/parley/messaging"
)

// figures are the result of a benchmark.
type figures struct {
	URL            string             `json:"url"`
	Driver         string             `json:"driver"`
	DriverVersion  string             `json:"driver_version"`
	InFlight       int                `json:"in_flight"`
	Size           int                `json:"size"`
	Seconds        float64            `json:"seconds"`
	Calls          int                `json:"calls"`
	CallsPerSecond float64            `json:"calls_per_second"`
	Latency        latencies          `json:"latency_ms"`
	Errors         map[string]int     `json:"errors"`
	CPUSeconds     map[string]float64 `json:"cpu_seconds"`
	CPUPerCall     float64            `json:"cpu_us_per_call"`
}

// latencies are in milliseconds.
type latencies struct {
	Mean float64 `json:"mean"`
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	Max  float64 `json:"max"`
}

func newFigures(f *benchLoad, t *messaging.Transport, r *loadResult, cpu map[string]float64) *figures {
	fig := &figures{
		URL: t.URL().String(), Driver: t.Info().Name, DriverVersion: t.Info().Version,
		InFlight: f.inFlight, Size: f.size, Seconds: r.elapsed.Seconds(), Calls: len(r.latencies),
		Latency: summarize(r.latencies), Errors: r.errors, CPUSeconds: cpu,
	}
	if fig.Seconds > 0 {
		fig.CallsPerSecond = float64(fig.Calls) / fig.Seconds
	}
	total := 0.0
	for _, seconds := range cpu {
		total += seconds
	}
	if fig.Calls > 0 {
		fig.CPUPerCall = total / float64(fig.Calls) * 1e6
	}
	return fig
}

// summarize sorts all and returns exact percentiles.
func summarize(all []time.Duration) latencies {
	if len(all) == 0 {
		return latencies{}
	}
	slices.Sort(all)
	var sum time.Duration
	for _, d := range all {
		sum += d
	}
	return latencies{
		Mean: milliseconds(sum) / float64(len(all)),
		P50:  milliseconds(percentile(all, 50)),
		P90:  milliseconds(percentile(all, 90)),
		P99:  milliseconds(percentile(all, 99)),
		Max:  milliseconds(all[len(all)-1]),
	}
}

// percentile returns the smallest value that p percent of all are not above.
func percentile(sorted []time.Duration, p float64) time.Duration {
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[max(rank, 1)-1]
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func (a *app) printFigures(f *figures) error {
	if a.json() {
		return printJSON(a.stdout, f)
	}
	return a.printFiguresOf("calls", "a call", f)
}

// printFiguresOf prints figures for people, of what nouns names.
func (a *app) printFiguresOf(nouns, each string, f *figures) error {
	p := a.paint(a.stdout)
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	say(w, "driver\t%s %s\n", f.Driver, f.DriverVersion)
	say(w, "%s\t%d in %.1f s, %d in flight, %d bytes each\n", nouns, f.Calls, f.Seconds, f.InFlight, f.Size)
	say(w, "rate\t%s %s/s\n", p.bold(fmt.Sprintf("%.0f", f.CallsPerSecond)), nouns)
	say(w, "latency\tp50 %s, p90 %s, p99 %s, max %s\n",
		showMS(f.Latency.P50), showMS(f.Latency.P90), showMS(f.Latency.P99), showMS(f.Latency.Max))
	say(w, "errors\t%s\n", p.errors(f.Errors))
	for _, name := range slices.Sorted(maps.Keys(f.CPUSeconds)) {
		say(w, "cpu\t%s %.2f s\n", name, f.CPUSeconds[name])
	}
	say(w, "cpu\t%.0f µs %s, all of these together\n", f.CPUPerCall, each)
	if err := w.Flush(); err != nil {
		return err
	}
	return a.print(text.String())
}

func (p paint) errors(errors map[string]int) string {
	if len(errors) == 0 {
		return "none"
	}
	text := ""
	for _, kind := range slices.Sorted(maps.Keys(errors)) {
		if text != "" {
			text += ", "
		}
		text += fmt.Sprintf("%d %s", errors[kind], kind)
	}
	return p.red(text)
}

// showMS shows milliseconds with three digits or so.
func showMS(ms float64) string {
	switch {
	case ms < 10:
		return fmt.Sprintf("%.2f ms", ms)
	case ms < 100:
		return fmt.Sprintf("%.1f ms", ms)
	default:
		return fmt.Sprintf("%.0f ms", ms)
	}
}

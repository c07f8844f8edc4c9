// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Setup is the first line a worker reads. It comes by standard input because the URL has a
// password.
type Setup struct {
	Role       string   `json:"role"`
	URL        string   `json:"url"`
	DriverPath []string `json:"driver_path"`
	Topic      string   `json:"topic"`
	Server     string   `json:"server"`
	Size       int      `json:"size"`
}

// Load is a line that makes a client worker call.
type Load struct {
	InFlight int     `json:"in_flight"`
	Seconds  float64 `json:"seconds"`
}

// Result is what a client worker answers with.
type Result struct {
	Calls   int     `json:"calls"`
	Errors  int     `json:"errors"`
	Seconds float64 `json:"seconds"`
	P50     float64 `json:"p50_us"`
	P99     float64 `json:"p99_us"`
	Error   string  `json:"error,omitempty"` // the first one
}

// PerSecond is the rate of a result.
func (r Result) PerSecond() float64 {
	if r.Seconds == 0 {
		return 0
	}
	return float64(r.Calls) / r.Seconds
}

// Payload is the argument of every call: size bytes of text.
func Payload(size int) string {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte('a' + i%26)
	}
	return string(b)
}

// Request is the body of args with the payload.
func Request(size int) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"payload":%q}`, Payload(size)))
}

// Run keeps load.InFlight callers busy for load.Seconds and measures each call.
func Run(ctx context.Context, load Load, call func(context.Context) error) Result {
	var (
		failures atomic.Int64
		first    atomic.Pointer[string]
		wg       sync.WaitGroup
	)
	latencies := make([][]time.Duration, load.InFlight)
	begin := time.Now()
	end := begin.Add(time.Duration(load.Seconds * float64(time.Second)))
	for i := range load.InFlight {
		wg.Go(func() {
			var own []time.Duration
			for {
				start := time.Now()
				if start.After(end) {
					break
				}
				if err := call(ctx); err != nil {
					failures.Add(1)
					text := err.Error()
					first.CompareAndSwap(nil, &text)
					continue
				}
				own = append(own, time.Since(start))
			}
			latencies[i] = own
		})
	}
	wg.Wait()
	elapsed := time.Since(begin)
	all := slices.Concat(latencies...)
	slices.Sort(all)
	r := Result{Calls: len(all), Errors: int(failures.Load()), Seconds: elapsed.Seconds(), P50: micros(all, 0.50), P99: micros(all, 0.99)}
	if text := first.Load(); text != nil {
		r.Error = *text
	}
	return r
}

// micros returns a quantile of sorted durations in microseconds.
func micros(sorted []time.Duration, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64(sorted[int(q*float64(len(sorted)-1))]) / float64(time.Microsecond)
}

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
	// Servers is how many servers a worker runs, each with a transport of its own. Default: 1.
	Servers int `json:"servers,omitempty"`
	// Also is a further topic that the first of those servers listens to.
	Also string `json:"also,omitempty"`
	// Durable is for notifications, whose queue then outlives the broker.
	Durable bool `json:"durable,omitempty"`
}

// Ready is a worker's first line.
type Ready struct {
	Ready bool `json:"ready"`
	// Address is where a server listens whose clients have no other way to find it.
	Address string `json:"address,omitempty"`
}

// Load is a line that makes a client worker call, or cast.
type Load struct {
	InFlight int     `json:"in_flight"`
	Seconds  float64 `json:"seconds"`
	Cast     bool    `json:"cast,omitempty"`
	Topic    string  `json:"topic,omitempty"` // in place of the setup's
	// Count is how many notifications are to be sent or handled, in place of Seconds.
	Count int `json:"count,omitempty"`
}

// Result is what a client worker answers with. For casts, Calls are those that the server
// received, and Seconds last until it had the last one.
type Result struct {
	Calls   int     `json:"calls"`
	Errors  int     `json:"errors"`
	Seconds float64 `json:"seconds"`
	P50     float64 `json:"p50_us"`
	P99     float64 `json:"p99_us"`
	Error   string  `json:"error,omitempty"` // the first one
	// By counts the answers of each server, where the client knows them.
	By map[string]int `json:"by,omitempty"`
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
	r := summary(slices.Concat(latencies...), time.Since(begin))
	r.Errors = int(failures.Load())
	if text := first.Load(); text != nil {
		r.Error = *text
	}
	return r
}

// summary sorts the latencies of what succeeded.
func summary(all []time.Duration, elapsed time.Duration) Result {
	slices.Sort(all)
	return Result{Calls: len(all), Seconds: elapsed.Seconds(), P50: micros(all, 0.50), P99: micros(all, 0.99)}
}

// micros returns a quantile of sorted durations in microseconds.
func micros(sorted []time.Duration, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64(sorted[int(q*float64(len(sorted)-1))]) / float64(time.Microsecond)
}

// SPDX-License-Identifier: Apache-2.0

package cost

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestReport(t *testing.T) {
	s := Start{What: "fake"}
	for _, ms := range []int{30, 10, 20} {
		total := time.Duration(ms) * time.Millisecond
		s.Add(total, Started{Open: total / 2, Serve: time.Millisecond, Call: 2 * time.Millisecond})
	}
	r := Report{
		Starts: []Start{s},
		Idle:   []Idle{{What: "driver", Usage: Usage{PSS: 3 << 20, RSS: 4 << 20, Descriptors: 7, Threads: 5}}},
		Units: []Unit{{
			What: "listener", N: 10,
			Few:  Measured{App: Usage{PSS: 1 << 20, Stacks: 1, Goroutines: 3}, Driver: Usage{PSS: 1 << 20}},
			Many: Measured{App: Usage{PSS: 1<<20 + 20<<10, Goroutines: 33}, Driver: Usage{PSS: 1<<20 + 40<<10}},
		}},
		Boundary: []string{"BenchmarkBoundary 1 ns/op"},
	}
	var out strings.Builder
	if err := r.Print(&out); err != nil {
		t.Fatal(err)
	}
	lines := make(map[string]bool)
	for line := range strings.Lines(out.String()) {
		lines[strings.Join(strings.Fields(line), " ")] = true
	}
	for _, want := range []string{
		"fake 20.0 10.0 30.0 10.0 1.0 2.0",
		"driver 3.0 4.0 - - 7 5",
		"listener 10 2.00 0.00 0.00 3.00 0.00 4.00 - 0.00",
		"BenchmarkBoundary 1 ns/op",
	} {
		if !lines[want] {
			t.Errorf("no line %q in\n%s", want, out.String())
		}
	}
}

func TestUsageOfThisProcess(t *testing.T) {
	u, err := UsageOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	u = u.WithRuntime()
	if twice := u.Plus(u); twice.PSS != 2*u.PSS || twice.Threads != 2*u.Threads || twice.Goroutines != 2*u.Goroutines {
		t.Errorf("%+v and itself are %+v", u, twice)
	}
	if u.PSS < 1<<20 || u.RSS < u.PSS || u.Descriptors < 3 || u.Threads < 1 || u.Heap == 0 || u.Stacks == 0 || u.Goroutines < 2 {
		t.Errorf("got %+v", u)
	}
	if _, err := UsageOf(1 << 30); err == nil {
		t.Error("a process that is not there has a usage")
	}
}

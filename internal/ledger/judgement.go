// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// shown is how many requests of one broken promise are shown.
const shown = 8

// Judgement is what was found in the ledgers.
type Judgement struct {
	Requests, Answered, Accepted int
	Codes                        map[string]int // of the errors, by kind and code
	Longest                      time.Duration
	Broken                       []string // promises
}

// Count counts requests by what became of them.
func (j *Judgement) Count(requests []*Request) {
	if j.Codes == nil {
		j.Codes = make(map[string]int)
	}
	for _, q := range requests {
		j.Requests++
		j.Longest = max(j.Longest, q.Took)
		switch {
		case q.Code != "":
			j.Codes[q.Kind+" "+q.Code]++
		case q.Kind == Call && q.Returned:
			j.Answered++
		case q.Returned:
			j.Accepted++
		}
	}
}

// Find counts the requests that break a promise, and shows the first of them.
func (j *Judgement) Find(requests []*Request, what string, is func(*Request) bool, describe func(*Request) string) int {
	n := 0
	for _, q := range requests {
		if !is(q) {
			continue
		}
		if n++; n <= shown {
			j.Broken = append(j.Broken, what+": "+describe(q))
		}
	}
	if n > shown {
		j.Broken = append(j.Broken, fmt.Sprintf("%s: %d more", what, n-shown))
	}
	return n
}

// WriteCodes writes a line for each code.
func (j *Judgement) WriteCodes(b *strings.Builder) {
	for _, code := range slices.Sorted(maps.Keys(j.Codes)) {
		_, _ = fmt.Fprintf(b, "  %s: %d\n", code, j.Codes[code])
	}
}

// WriteBroken writes a line for each broken promise that is shown.
func (j *Judgement) WriteBroken(b *strings.Builder) {
	for _, line := range j.Broken {
		b.WriteString("  BROKEN " + line + "\n")
	}
}

// Spread is the median and the longest of times, of which there is one at least.
func Spread(all []time.Duration) (median, longest time.Duration) {
	all = slices.Sorted(slices.Values(all))
	return Round(all[len(all)/2]), Round(all[len(all)-1])
}

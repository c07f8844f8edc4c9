// SPDX-License-Identifier: Apache-2.0

package qpidfaults

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/parleymq/parley/internal/ledger"
)

// String is what people read.
func (rep *report) String() string {
	var b strings.Builder
	_, _ = fmt.Fprintf(&b, "%d requests: %d calls answered, %d casts and fanouts accepted; the longest took %v, of %v\n",
		rep.Requests, rep.Answered, rep.Accepted, ledger.Round(rep.Longest), requestTimeout)
	rep.WriteCodes(&b)
	_, _ = fmt.Fprintf(&b, "given again to a server that had run it, and not run: %d; to the other one, and run: %d\n", rep.run.again, rep.elsewhere)
	_, _ = fmt.Fprintf(&b, "lost %d, run twice %d, hung %d, without a code %d, untrue %d, told late %d, fanouts missed in peace %d, failed in peace %d, slow %d, left %d\n\n",
		rep.lost, rep.twice, rep.hung, rep.uncoded, rep.untrue, rep.told, rep.missed, rep.peace, rep.slow, len(rep.run.left))
	rep.table(&b)
	rep.WriteBroken(&b)
	return b.String()
}

// table has a row for each kind of fault.
func (rep *report) table(b *strings.Builder) {
	kinds := make(map[string][]*fault)
	for _, f := range rep.run.faults {
		kinds[f.kind] = append(kinds[f.kind], f)
	}
	_, _ = fmt.Fprintf(b, "%-36s %5s %17s %8s %17s %7s %26s %7s %6s\n", "fault", "times", "recovery p50/max",
		"in doubt", "told p50/max", "failed", "lost: cast/reliable/driver", "fanouts", "twice")
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		var sum tally
		var recovered []time.Duration
		for _, f := range kinds[kind] {
			recovered = append(recovered, f.recovered)
			sum.told = append(sum.told, f.told...)
			sum.inDoubt += f.inDoubt
			sum.failed += f.failed
			sum.lost += f.lost
			sum.reliable += f.reliable
			sum.driver += f.driver
			sum.missed += f.missed
			sum.again += f.again
		}
		_, _ = fmt.Fprintf(b, "%-36s %5d %17s %8d %17s %7d %26s %7d %6d\n", kind, len(kinds[kind]), spread(recovered),
			sum.inDoubt, spread(sum.told), sum.failed, fmt.Sprintf("%d/%d/%d", sum.lost, sum.reliable, sum.driver), sum.missed, sum.again)
	}
}

// spread is the median and the longest of times.
func spread(all []time.Duration) string {
	if len(all) == 0 {
		return "-"
	}
	median, longest := ledger.Spread(all)
	return fmt.Sprintf("%v/%v", median, longest)
}

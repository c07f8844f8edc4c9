// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/testbed"
)

// longRounds is how often each fault of a long run is made at least.
const longRounds = 10

// Plan says how long the runs of a package of tests are. Its fields are variables of the environment.
type Plan struct {
	// Time makes runs long: they go on for that time, and until each fault was made ten times.
	Time string
	// Only is a regular expression for the faults to make, of which the files are kept.
	Only string
}

// Fault is one that can be made. F is what is known of one that was.
type Fault[F any] struct {
	Kind string
	Do   func(*F)
}

// IsLong says that the runs are.
func (p Plan) IsLong() bool { return os.Getenv(p.Time) != "" }

// LeastRounds is how often each fault is made at least.
func (p Plan) LeastRounds() int {
	if p.IsLong() {
		return longRounds
	}
	return 1
}

// rounds says whether each fault is made once more.
func (p Plan) rounds(tb testing.TB) func(yet int) bool {
	tb.Helper()
	end := time.Now()
	if p.IsLong() {
		d, err := time.ParseDuration(os.Getenv(p.Time))
		testbed.Must(tb, err)
		end = end.Add(d)
	}
	return func(yet int) bool { return yet < p.LeastRounds() || time.Now().Before(end) }
}

// Disturb lets do make all faults, in another order each time.
func Disturb[F any](tb testing.TB, p Plan, faults []Fault[F], do func(Fault[F])) {
	tb.Helper()
	more := p.rounds(tb)
	only, err := regexp.Compile(os.Getenv(p.Only))
	testbed.Must(tb, err)
	faults = slices.DeleteFunc(slices.Clone(faults), func(f Fault[F]) bool { return !only.MatchString(f.Kind) })
	for yet := 0; more(yet); yet++ {
		rand.Shuffle(len(faults), func(i, j int) { faults[i], faults[j] = faults[j], faults[i] }) //nolint:gosec // no secret
		for _, f := range faults {
			do(f)
		}
	}
}

// Dir makes the directory of a run, short for sockets, and Runtime in it. It is kept when the test has
// failed, unless it breaks promises on purpose.
func (p Plan) Dir(tb testing.TB, onPurpose bool) string {
	tb.Helper()
	dir, err := os.MkdirTemp("/tmp", "pl")
	testbed.Must(tb, err)
	tb.Cleanup(func() {
		if (tb.Failed() || os.Getenv(p.Only) != "") && !onPurpose {
			tb.Logf("logs and ledgers are in %s", dir)
			return
		}
		_ = os.RemoveAll(dir)
	})
	testbed.Must(tb, os.Mkdir(Runtime(dir), 0o700))
	return dir
}

// Runtime is the runtime directory of a run, also for temporary files.
func Runtime(dir string) string { return filepath.Join(dir, "run") }

// AwaitQuiet waits until nothing was written to files for a while.
func AwaitQuiet(tb testing.TB, limit, quiet time.Duration, files ...string) {
	tb.Helper()
	var sizes []int64
	since := time.Now()
	testbed.Wait(limit, func() bool {
		now := make([]int64, len(files))
		for i, file := range files {
			st, err := os.Stat(file)
			testbed.Must(tb, err)
			now[i] = st.Size()
		}
		if !slices.Equal(now, sizes) {
			sizes, since = now, time.Now()
		}
		return time.Since(since) > quiet
	})
}

// InLog returns what must not be in the log of an application, nor in what it printed, and is.
func InLog(tb testing.TB, file, printed string) (found []string) {
	tb.Helper()
	text, err := os.ReadFile(file)
	testbed.Must(tb, err)
	for _, bad := range []string{"DATA RACE", "panic:"} {
		if strings.Contains(string(text), bad) || strings.Contains(printed, bad) {
			found = append(found, bad)
		}
	}
	return found
}

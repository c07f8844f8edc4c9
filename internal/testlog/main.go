// SPDX-License-Identifier: Apache-2.0

// Command testlog reads "go test -json" from standard input and prints what a person needs:
// a line a package, the whole output of what failed, what was skipped or said to be not
// proven, and the sums. It exits with 1 when something failed, and also when something was
// skipped, unless PARLEY_TEST_OPTIONAL=1 allows that.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

// event is one line of "go test -json".
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
	Elapsed float64
}

// planted is in every password and token that tests use on purpose (testbed.Secret). Whatever
// prints one, in a test that passes too, fails the run.
const planted = "S3cr3t"

// summary collects the events.
type summary struct {
	out     io.Writer
	output  map[string][]string // by package and test
	failed  []string
	skipped []string
	unsure  []string
	passed  int
	noTests int
}

func main() {
	s := &summary{out: os.Stdout, output: make(map[string][]string)}
	if err := s.read(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "testlog:", err)
		os.Exit(2)
	}
	if !s.report(os.Getenv("PARLEY_TEST_OPTIONAL") == "1") {
		os.Exit(1)
	}
}

func (s *summary) read(r io.Reader) error {
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 16<<20)
	for sc.Scan() {
		var e event
		if err := json.Unmarshal(sc.Bytes(), &e); err != nil {
			_, _ = fmt.Fprintln(s.out, sc.Text()) // a build failure is plain text
			continue
		}
		s.take(e)
	}
	return sc.Err()
}

func (s *summary) take(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output", "build-output":
		if strings.Contains(e.Output, planted) {
			s.failed = append(s.failed, key)
			e.Output = "a planted secret was printed here\n"
		}
		s.output[key] = append(s.output[key], e.Output)
		if i := strings.Index(e.Output, "NOT PROVEN"); i >= 0 {
			s.unsure = append(s.unsure, fmt.Sprintf("%s: %s", e.Test, strings.TrimSpace(e.Output[i:])))
		}
	case "fail", "build-fail":
		s.failed = append(s.failed, key)
		s.line("FAIL", e)
	case "skip":
		if e.Test == "" {
			s.noTests++
			return
		}
		s.skipped = append(s.skipped, key)
	case "pass":
		if e.Test != "" {
			s.passed++
			return
		}
		s.line("ok", e)
	}
}

// line prints the line of a package.
func (s *summary) line(verdict string, e event) {
	if e.Test == "" && e.Package != "" {
		_, _ = fmt.Fprintf(s.out, "   %-4s %6.1fs  %s\n", verdict, e.Elapsed, strings.TrimPrefix(e.Package, "github.com/parleymq/parley/"))
	}
}

// report prints the sums and says whether all is well.
func (s *summary) report(optional bool) bool {
	for _, key := range s.failed {
		_, _ = fmt.Fprintf(s.out, "\n--- FAIL %s\n%s", key, strings.Join(s.output[key], ""))
	}
	for _, key := range s.skipped {
		_, _ = fmt.Fprintf(s.out, "\n--- SKIP %s\n%s", key, strings.Join(s.output[key], ""))
	}
	for _, line := range s.unsure {
		_, _ = fmt.Fprintln(s.out, "   "+line)
	}
	s.excerpts()
	failed := 0
	for _, key := range s.failed {
		if !strings.HasSuffix(key, " ") {
			failed++
		}
	}
	if failed == 0 {
		failed = len(s.failed)
	}
	_, _ = fmt.Fprintf(s.out, "%d passed, %d failed, %d skipped\n", s.passed, failed, len(s.skipped))
	return len(s.failed) == 0 && s.passed > 0 && (optional || len(s.skipped) == 0)
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Bounds of what is printed of one failure at the end.
const (
	excerptLines = 12
	excerptWidth = 400
)

// said is a line of a test's own, not of the logs that it prints.
var said = regexp.MustCompile(`^(?:[\w./-]+\.go:\d+(?::\d+)?: |panic: |WARNING: DATA RACE|fatal error: |BROKEN )`)

// excerpts prints in short what failed. The whole output of a failure can be thousands of lines, and who
// reads the end of a run should not have to look for it.
func (s *summary) excerpts() {
	for _, key := range s.failed {
		if s.hasFailedPart(key) {
			continue
		}
		_, _ = fmt.Fprintln(s.out, "FAIL "+strings.TrimSpace(strings.TrimPrefix(key, "github.com/parleymq/parley/")))
		for _, line := range excerpt(s.output[key]) {
			_, _ = fmt.Fprintln(s.out, "     "+line)
		}
	}
}

// hasFailedPart reports whether a test of a package, or a part of a test, failed, which says more.
func (s *summary) hasFailedPart(key string) bool {
	part := key + "/"
	if strings.HasSuffix(key, " ") {
		part = key
	}
	return slices.ContainsFunc(s.failed, func(other string) bool {
		return other != key && strings.HasPrefix(other, part)
	})
}

// excerpt picks the lines that say why: the last ones, since tests say first what they saw.
func excerpt(output []string) []string {
	var lines []string
	for _, out := range output {
		for line := range strings.Lines(out) {
			line = strings.TrimSpace(line)
			if !said.MatchString(line) || strings.HasSuffix(line, ": log:") {
				continue
			}
			if len(line) > excerptWidth {
				line = strings.ToValidUTF8(line[:excerptWidth], "") + "..."
			}
			lines = append(lines, line)
		}
	}
	return lines[max(0, len(lines)-excerptLines):]
}

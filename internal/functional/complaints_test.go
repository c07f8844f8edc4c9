// SPDX-License-Identifier: Apache-2.0

package functional

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const (
	operations = root + "/docs/OPERATIONS.md"
	complaints = "What goes wrong with plugin hosts, and here"
	attacks    = "What a file or a driver may try"
	// noTest begins the reason why a row has no test.
	noTest = "no test: "
)

// thread matches owner/repository#number.
var thread = regexp.MustCompile(`^[\w.-]+/[\w.-]+#[1-9]\d*$`)

// TestComplaints: each of the twenty rows has where it was reported, what is done about it, and
// tests that exist, or a reason.
func TestComplaints(t *testing.T) {
	var rows [][]string
	for _, tb := range tablesOf(t, operations) {
		if tb.section == complaints {
			rows = append(rows, tb.rows...)
		}
	}
	if len(rows) != 20 {
		t.Fatalf("%q has %d rows", complaints, len(rows))
	}
	sources := make(map[string]string)
	for i, row := range rows {
		for _, problem := range complaintProblems(sources, i+1, row) {
			t.Errorf("row %d: %s", i+1, problem)
		}
	}
}

// TestAttackTable: each row says what happens, and has tests that exist.
func TestAttackTable(t *testing.T) {
	sources := make(map[string]string)
	found := 0
	for _, tb := range tablesOf(t, operations) {
		if tb.section != attacks {
			continue
		}
		for _, row := range tb.rows {
			found++
			if len(row) != 3 || row[0] == "" || row[1] == "" {
				t.Errorf("row %v is not complete", row)
				continue
			}
			tests := quoted.FindAllStringSubmatch(row[2], -1)
			if len(tests) == 0 {
				t.Errorf("%q has no test", row[0])
			}
			for _, ref := range tests {
				if err := exists(sources, ref[1]); err != nil {
					t.Errorf("%q: %v", row[0], err)
				}
			}
		}
	}
	if found < 10 {
		t.Errorf("%q has %d rows", attacks, found)
	}
}

// complaintProblems is what is wrong with a row.
func complaintProblems(sources map[string]string, number int, row []string) (problems []string) {
	// A last cell that is empty is no cell of its own.
	if len(row) == 4 {
		row = append(row, "")
	}
	if len(row) != 5 {
		return []string{strconv.Itoa(len(row)) + " cells"}
	}
	if row[0] != strconv.Itoa(number) {
		problems = append(problems, "it has number "+row[0])
	}
	if row[1] == "" || row[3] == "" {
		problems = append(problems, "it has no complaint or no answer")
	}
	for source := range strings.SplitSeq(row[2], ", ") {
		if !thread.MatchString(source) {
			problems = append(problems, source+" is no thread")
		}
	}
	tests := quoted.FindAllStringSubmatch(row[4], -1)
	if len(tests) == 0 && !strings.Contains(row[3], noTest) {
		problems = append(problems, "it has neither a test nor a reason")
	}
	for _, ref := range tests {
		if err := exists(sources, ref[1]); err != nil {
			problems = append(problems, err.Error())
		}
	}
	return problems
}

// TestComplaintProblemsAreFound proves the check.
func TestComplaintProblemsAreFound(t *testing.T) {
	const this = "`internal/functional.TestComplaintProblemsAreFound`"
	sources := make(map[string]string)
	for name, tc := range map[string]struct {
		row []string
		ok  bool
	}{
		"a test":         {[]string{"1", "c", "a/b#1, c.d/e-f#22", "h", this}, true},
		"a reason":       {[]string{"1", "c", "a/b#1", "h. no test: Windows"}, true},
		"neither":        {[]string{"1", "c", "a/b#1", "h"}, false},
		"another number": {[]string{"2", "c", "a/b#1", "h", this}, false},
		"no thread":      {[]string{"1", "c", "somewhere", "h", this}, false},
		"no answer":      {[]string{"1", "c", "a/b#1", "", this}, false},
		"no such test":   {[]string{"1", "c", "a/b#1", "h", "`internal/functional.TestNoSuch" + "Thing`"}, false},
		"a cell more":    {[]string{"1", "c", "a/b#1", "h", this, "x"}, false},
	} {
		if problems := complaintProblems(sources, 1, tc.row); (len(problems) == 0) != tc.ok {
			t.Errorf("%s: %v", name, problems)
		}
	}
}

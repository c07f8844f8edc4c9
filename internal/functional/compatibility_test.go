// SPDX-License-Identifier: Apache-2.0

package functional

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const (
	root     = "../.."
	page     = root + "/docs/COMPATIBILITY.md"
	upstream = "testdata/upstream-18.3.1.txt"
	legacy   = "testdata/upstream-14.9.3.txt" // what only it has
)

// tables are the tables of a Markdown page: the headings above each, and its rows without the
// header.
type table struct {
	section, heading string
	rows             [][]string
}

func tablesOf(t *testing.T, file string) []table {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []table
	var section, heading string
	inTable := false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "## "):
			section, heading = line[3:], ""
		case strings.HasPrefix(line, "### "):
			heading = line[4:]
		}
		if !strings.HasPrefix(line, "|") {
			inTable = false
			continue
		}
		if !inTable {
			all, inTable = append(all, table{section: section, heading: heading}), true
			continue
		}
		if strings.HasPrefix(line, "|---") {
			continue
		}
		var cells []string
		for cell := range strings.SplitSeq(strings.Trim(line, "|"), "|") {
			cells = append(cells, strings.TrimSpace(cell))
		}
		last := &all[len(all)-1]
		last.rows = append(last.rows, cells)
	}
	return all
}

// sectionOf returns the tables below one heading of the page.
func sectionOf(t *testing.T, name string) []table {
	t.Helper()
	var found []table
	for _, tb := range tablesOf(t, page) {
		if tb.section == name {
			found = append(found, tb)
		}
	}
	if len(found) == 0 {
		t.Fatalf("%s has no section %q", page, name)
	}
	return found
}

// upstreamCases are upstream's cases by file, and there by class and method.
func upstreamCases(t *testing.T) map[string]map[string]int {
	t.Helper()
	var text strings.Builder
	for _, file := range []string{upstream, legacy} {
		part, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text.Write(part)
	}
	all := make(map[string]map[string]int)
	for line := range strings.Lines(text.String()) {
		fields := strings.Fields(line)
		if len(fields) != 3 || fields[0] == "#" {
			continue
		}
		n, err := strconv.Atoi(fields[2])
		if err != nil {
			t.Fatal(err)
		}
		if all[fields[0]] == nil {
			all[fields[0]] = make(map[string]int)
		}
		all[fields[0]][fields[1]] = n
	}
	return all
}

// take removes what a row is about from a file's cases and returns how many they are.
func take(cases map[string]int, row string) (int, error) {
	total := 0
	for name := range strings.SplitSeq(row, ", ") {
		found := false
		for test, n := range cases {
			class, _, _ := strings.Cut(test, ".")
			if name == "*" || name == test || name == class {
				total += n
				found = true
				delete(cases, test)
			}
		}
		if !found {
			return 0, fmt.Errorf("there is no %s left in that file", name)
		}
	}
	return total, nil
}

// sum is how many cases there are, and how many hold here.
type sum struct{ cases, here int }

func (s *sum) add(cases, here int) {
	s.cases += cases
	s.here += here
}

// aboutNotifications tells the rows of notifications from the others.
func aboutNotifications(heading, row string) bool {
	return strings.Contains(heading, "notify/") || strings.HasPrefix(row, "NotifyTestCase") || strings.Contains(row, "test_send_notification")
}

// TestCompatibility: every case of upstream is in one row, and every row has tests or a reason.
func TestCompatibility(t *testing.T) {
	left := upstreamCases(t)
	var rpc, notes sum
	for _, tb := range sectionOf(t, "Upstream's cases") {
		for _, row := range tb.rows {
			where := tb.heading + ": " + row[0]
			if len(row) != 5 {
				t.Errorf("%s: %d cells", where, len(row))
				continue
			}
			cases, err := strconv.Atoi(row[1])
			held, err2 := strconv.Atoi(row[2])
			if err != nil || err2 != nil || held > cases {
				t.Errorf("%s: %s of %s", where, row[2], row[1])
			}
			if n, err := take(left[tb.heading], row[0]); err != nil || n != cases {
				t.Errorf("%s: upstream has %d, %v", where, n, err)
			}
			if held > 0 && row[3] == "" {
				t.Errorf("%s: no test", where)
			}
			if held < cases && row[4] == "" {
				t.Errorf("%s: no reason for what is missing", where)
			}
			if aboutNotifications(tb.heading, row[0]) {
				notes.add(cases, held)
			} else {
				rpc.add(cases, held)
			}
		}
	}
	for file, tests := range left {
		for test := range tests {
			t.Errorf("%s: %s has no row", file, test)
		}
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	sums := fmt.Sprintf("Of upstream's %d cases %d are about notifications, of which %d hold here. Of the other %d, %d hold here",
		rpc.cases+notes.cases, notes.cases, notes.here, rpc.cases, rpc.here)
	if !strings.Contains(strings.ReplaceAll(string(text), "\n", " "), sums) {
		t.Errorf("the page does not say: %s", sums)
	}
}

var quoted = regexp.MustCompile("`([^`]+)`")

// reference matches package.Test/subtest.
var reference = regexp.MustCompile(`^([a-z/]+)\.(Test[A-Za-z0-9_]*)(?:/(.+))?$`)

// TestNamedTestsExist keeps the page from naming what is gone.
func TestNamedTestsExist(t *testing.T) {
	column := map[string]int{"Upstream's cases": 3, "What upstream does not test": 1}
	sources := make(map[string]string) // of a package's tests
	named := 0
	for section, i := range column {
		for _, tb := range sectionOf(t, section) {
			for _, row := range tb.rows {
				for _, ref := range quoted.FindAllStringSubmatch(row[i], -1) {
					named++
					if err := exists(sources, ref[1]); err != nil {
						t.Errorf("%s, %s: %v", tb.heading, row[0], err)
					}
				}
			}
		}
	}
	if named < 100 {
		t.Errorf("only %d tests are named: was the page understood?", named)
	}
}

// exists looks a reference up in the sources. A subtest's name must stand in them as a text.
func exists(sources map[string]string, ref string) error {
	m := reference.FindStringSubmatch(ref)
	if m == nil {
		return fmt.Errorf("%q names no test", ref)
	}
	text, ok := sources[m[1]]
	if !ok {
		files, err := filepath.Glob(filepath.Join(root, m[1], "*_test.go"))
		if err != nil {
			return err
		}
		var all strings.Builder
		for _, file := range files {
			source, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			all.Write(source)
		}
		text = all.String()
		sources[m[1]] = text
	}
	if !strings.Contains(text, "\nfunc "+m[2]+"(t *testing.T)") {
		return fmt.Errorf("%s has no %s", m[1], m[2])
	}
	if m[3] != "" && !strings.Contains(text, strconv.Quote(m[3])) {
		return fmt.Errorf("%s has no subtest %q", m[1], m[3])
	}
	return nil
}

// TestMissingTestIsFound proves the check.
func TestMissingTestIsFound(t *testing.T) {
	sources := make(map[string]string)
	for ref, ok := range map[string]bool{
		"internal/functional.TestMissingTestIsFound":                   true,
		"internal/functional.TestServerLifecycle/test_start_stop_wait": true,
		"internal/functional.TestMissingTestIs":                        false,
		"internal/functional.TestServerLifecycle/no " + "such":         false,
		"internal/nowhere.TestMissingTestIsFound":                      false,
		"TestMissingTestIsFound":                                       false,
	} {
		if err := exists(sources, ref); (err == nil) != ok {
			t.Errorf("%s: %v", ref, err)
		}
	}
}

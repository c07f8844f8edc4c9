// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"slices"
	"testing"
)

// cell is one row of the matrix: what is proven with each release of oslo.messaging, once with
// a Go client and a Python server, and once with a Python client and a Go server.
type cell struct {
	name     string
	goCalls  func(t *testing.T, p *peers)
	pyCalls  func(t *testing.T, p *peers)
	promised bool // by the project, in these words
}

// matrix is what TestMatrix runs, in this order, for each release and in both directions. The
// last row leaves a server dead.
func matrix() []cell {
	const promised = true
	return []cell{
		{"call", testGoAddresses, testPythonAddresses, promised},
		{"exchanges", testGoNamesExchange, testPythonNamesExchange, false},
		{"cast", testGoCasts, testPythonCasts, promised},
		{"fanout", testGoFansOut, testPythonFansOut, promised},
		{"failure builtin", testGoGetsBuiltin, testPythonGetsBuiltin, promised},
		{"failure own module", testGoGetsOwn, testPythonGetsOwn, promised},
		{"failure disallowed", testGoGetsStranger, testPythonGetsStranger, promised},
		{"failure with kwargs", testGoGetsKwargs, testPythonGetsKwargs, promised},
		{"failure of dispatch", testGoGetsRefused, testPythonGetsRefused, false},
		{"failure through a chain", testGoGetsRelayed, testPythonGetsRelayed, false},
		{"expected failure", testGoGetsExpected, testPythonGetsExpected, promised},
		{"monitored long call", testGoMonitors, testPythonMonitors, promised},
		{"namespaces", testGoAsksNamespaces, testPythonAsksNamespaces, promised},
		{"versions", testGoAsksVersions, testPythonAsksVersions, promised},
		{"ping", testGoPings, testPythonPings, promised},
		{"context", testGoSendsContext, testPythonSendsContext, promised},
		{"values", testGoSendsValues, testPythonSendsValues, false},
		{"argument names", testGoSendsNames, testPythonSendsNames, false},
		{"NaN", testGoSendsNaN, testPythonSendsNaN, promised},
		{"2^70", testGoSendsHuge, testPythonSendsHuge, promised},
		{"lone surrogates", testGoSendsSurrogates, testPythonSendsSurrogates, promised},
		{"1 MiB", testGoSendsMebibyte, testPythonSendsMebibyte, promised},
		{"headers", testGoSendsHeaders, testPythonGetsHeaders, false},
		{"timeout", testGoTimesOut, testPythonTimesOut, false},
		{"undeliverable", testGoUndeliverable, testPythonUndeliverable, false},
		{"death during a monitored call", testGoSeesDeath, testPythonSeesDeath, false},
	}
}

// TestMatrix proves the matrix: release × direction × row.
func TestMatrix(t *testing.T) {
	eachMeeting(t, func(t *testing.T, m *meeting) {
		p := newPeers(t, m)
		for direction, pick := range map[string]func(cell) func(*testing.T, *peers){
			"Go calls Python": func(c cell) func(*testing.T, *peers) { return c.goCalls },
			"Python calls Go": func(c cell) func(*testing.T, *peers) { return c.pyCalls },
		} {
			t.Run(direction, func(t *testing.T) {
				t.Parallel()
				for _, c := range matrix() {
					t.Run(c.name, func(t *testing.T) {
						test := pick(c)
						if test == nil {
							t.Fatal("it has no test")
						}
						test(t, p)
					})
				}
			})
		}
	})
}

// TestMatrixIsWhole fails when a row that the project promises is missing, or a row has no test
// in one of the directions, or a release is not met.
func TestMatrixIsWhole(t *testing.T) {
	promise := []string{
		"call", "cast", "fanout", "failure builtin", "failure own module", "failure disallowed", "failure with kwargs",
		"expected failure", "monitored long call", "namespaces", "versions", "ping", "context", "NaN", "2^70",
		"lone surrogates", "1 MiB",
	}
	var kept []string
	for _, c := range matrix() {
		if c.goCalls == nil || c.pyCalls == nil {
			t.Errorf("%s: a direction has no test", c.name)
		}
		if c.promised {
			kept = append(kept, c.name)
		}
	}
	if !slices.Equal(kept, promise) {
		t.Errorf("the matrix has the rows\n%q, promised are\n%q", kept, promise)
	}
	var releases []string
	for _, m := range meetings(t) {
		releases = append(releases, m.name())
	}
	if want := []string{"18.3.1", "14.0.3", "14.9.3 on qpid"}; !slices.Equal(releases, want) {
		t.Errorf("met are %v, promised are %v", releases, want)
	}
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

// TestExcerpts looks at the end of a report, which is what people read.
func TestExcerpts(t *testing.T) {
	const (
		parent = "github.com/parleymq/parley/internal/p TestA"
		leaf   = parent + "/one"
		pkg    = "github.com/parleymq/parley/internal/p "
		built  = "github.com/parleymq/parley/internal/q "
	)
	var out strings.Builder
	s := &summary{
		out: &out, failed: []string{leaf, parent, pkg, built}, passed: 1, unsure: []string{"TestB: NOT PROVEN: rule"},
		output: map[string][]string{
			parent: {"--- FAIL: TestA\n"},
			leaf: {
				"=== RUN   TestA/one\n", "    a_test.go:7: 3 of 4 calls got no answer\n",
				"    logs.go:39: log:\n        time=now msg=connected\n", "    a_test.go:9: " + strings.Repeat("x", 1000) + "\n",
			},
			pkg:   {"FAIL\n"},
			built: {"# q\n", "q/q.go:3:1: syntax error\n", "panic: boom\n"},
		},
	}
	if s.report(false) {
		t.Error("the run did not fail")
	}
	_, end, _ := strings.Cut(out.String(), "NOT PROVEN: rule\n")
	want := "FAIL internal/p TestA/one\n     a_test.go:7: 3 of 4 calls got no answer\n" +
		"     a_test.go:9: " + strings.Repeat("x", excerptWidth-len("a_test.go:9: ")) + "...\n" +
		"FAIL internal/q\n     q/q.go:3:1: syntax error\n     panic: boom\n1 passed, 2 failed, 0 skipped\n"
	if end != want {
		t.Errorf("the end is\n%swant\n%s", end, want)
	}
}

func TestReport(t *testing.T) {
	const (
		pass   = `{"Action":"pass","Package":"p","Test":"TestA"}` + "\n"
		fail   = `{"Action":"output","Package":"p","Test":"TestB","Output":"boom\n"}` + "\n" + `{"Action":"fail","Package":"p","Test":"TestB"}` + "\n" + `{"Action":"fail","Package":"p"}` + "\n"
		skip   = `{"Action":"output","Package":"p","Test":"TestC","Output":"no broker\n"}` + "\n" + `{"Action":"skip","Package":"p","Test":"TestC"}` + "\n"
		secret = `{"Action":"output","Package":"p","Test":"TestA","Output":"password=S3cr3t-1\n"}` + "\n" + pass
		unsure = `{"Action":"output","Package":"p","Test":"TestA","Output":"    x.go:1: NOT PROVEN: rule\n"}` + "\n"
	)
	for _, tc := range []struct {
		name, in string
		optional bool
		ok       bool
		want     string
	}{
		{"passed", pass, false, true, "1 passed, 0 failed, 0 skipped"},
		{"failed", pass + fail, false, false, "1 passed, 1 failed, 0 skipped"},
		{"failed, with its output", pass + fail, false, false, "boom"},
		{"skipped fails", pass + skip, false, false, "no broker"},
		{"skipped is allowed", pass + skip, true, true, "1 passed, 0 failed, 1 skipped"},
		{"not proven is said", pass + unsure, false, true, "TestA: NOT PROVEN: rule"},
		{"a secret fails", secret, false, false, "a planted secret was printed here"},
		{"nothing ran", "", false, false, "0 passed, 0 failed"},
		{"build failure", "p.go:1: syntax error\n" + `{"Action":"build-fail","ImportPath":"p"}` + "\n" + pass, false, false, "syntax error"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out strings.Builder
			s := &summary{out: &out, output: make(map[string][]string)}
			if err := s.read(strings.NewReader(tc.in)); err != nil {
				t.Fatal(err)
			}
			if got := s.report(tc.optional); got != tc.ok || !strings.Contains(out.String(), tc.want) {
				t.Errorf("%v, want %v with %q:\n%s", got, tc.ok, tc.want, out.String())
			}
		})
	}
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

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

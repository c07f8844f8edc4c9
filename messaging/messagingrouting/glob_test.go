// SPDX-License-Identifier: Apache-2.0

package messagingrouting

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// TestGlobIsPythons compares with what Python's fnmatch said; testdata/fnmatch.py wrote it down.
func TestGlobIsPythons(t *testing.T) {
	path := "testdata/fnmatch.json"
	if other := os.Getenv("PARLEY_FNMATCH_TABLE"); other != "" {
		path = other // a longer one, of another seed
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var table map[string]struct{ Fits, Not []string }
	if err := json.Unmarshal(text, &table); err != nil {
		t.Fatal(err)
	}
	compared := 0
	for pattern, row := range table {
		g, _ := parseGlob(pattern)
		for want, names := range map[bool][]string{true: row.Fits, false: row.Not} {
			for _, name := range names {
				compared++
				if got := g.fits(name); got != want {
					t.Errorf("%q fits %q: %v, Python says %v", pattern, name, got, want)
				}
			}
		}
	}
	if compared < 1000 {
		t.Errorf("only %d rows", compared)
	}
	t.Logf("%d rows", compared)
}

func TestGlobProblems(t *testing.T) {
	for pattern, want := range map[string]globProblem{
		"a*": "", "[a-c]": "", "[!a]": "", "[]]": "", "[": unclosed, "a[b": unclosed, "[]": unclosed, "[!]": unclosed, "[c-a]": reversed, "[ac-a]": reversed,
	} {
		if _, got := parseGlob(pattern); got != want {
			t.Errorf("%q: %q, want %q", pattern, got, want)
		}
	}
}

// TestGlobIsNotExponential has the pattern that ruins matchers which go back over every star.
func TestGlobIsNotExponential(t *testing.T) {
	g, _ := parseGlob(strings.Repeat("*a", 500) + "b")
	start := time.Now()
	if g.fits(strings.Repeat("a", 1000)) {
		t.Error("it fits")
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

// FuzzGlob compares with a regular expression made from the same elements, which is how Python
// does it, and looks that no pattern panics.
func FuzzGlob(f *testing.F) {
	for _, p := range []string{"*", "a?[b-d]*", "[!]a]", "[z-a]", "[a--", "é[é-ü]", "[\\]", "**a**"} {
		f.Add(p, "abc")
		f.Add(p, "éa\n")
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if !utf8.ValidString(pattern) || !utf8.ValidString(name) || len(pattern) > 200 || len(name) > 200 {
			return
		}
		g, _ := parseGlob(pattern)
		re, err := regexp.Compile(g.regexp())
		if err != nil {
			t.Fatalf("%q: %v", pattern, err)
		}
		if got, want := g.fits(name), re.MatchString(name); got != want {
			t.Errorf("%q fits %q: %v, want %v", pattern, name, got, want)
		}
		if !strings.ContainsAny(pattern, "*?[") && g.fits(name) != (pattern == name) {
			t.Errorf("%q is plain and does not mean itself", pattern)
		}
	})
}

func (g glob) regexp() string {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	quoted := func(r rune) string { return regexp.QuoteMeta(string(r)) }
	for _, e := range g {
		switch {
		case e.kind == star:
			b.WriteString(".*")
		case e.kind == anyOne || e.kind == class && len(e.set) == 0 && e.not:
			b.WriteString(".")
		case e.kind == literal:
			b.WriteString(quoted(e.char))
		case len(e.set) == 0:
			b.WriteString(`[^\x{0}-\x{10FFFF}]`)
		default:
			b.WriteString("[")
			if e.not {
				b.WriteString("^")
			}
			for _, s := range e.set {
				b.WriteString(`\x{` + hex(s.from) + `}-\x{` + hex(s.to) + `}`)
			}
			b.WriteString("]")
		}
	}
	return b.String() + `\z`
}

func hex(r rune) string {
	const digits = "0123456789abcdef"
	var out []byte
	for shift := 20; shift >= 0; shift -= 4 {
		out = append(out, digits[r>>shift&15])
	}
	return string(out)
}

// SPDX-License-Identifier: Apache-2.0

package messagingrouting

import (
	"slices"
	"unicode/utf8"
)

// glob is a pattern of Python's fnmatch, case sensitive as on Unix. It fits exactly what
// fnmatch.fnmatchcase says it does; testdata holds the proof.
type glob []element

// element is what fits one character, or with star any number of them.
type element struct {
	kind elementKind
	char rune   // of literal
	set  []span // of class
	not  bool   // of class: it fits what is not in the set
}

type elementKind uint8

const (
	literal elementKind = iota
	anyOne
	star
	class
)

// span is a range of characters, both ends included.
type span struct{ from, to rune }

// globProblem is why nobody can have meant a pattern, which Python takes all the same.
type globProblem string

const (
	unclosed globProblem = `has a "[" that is not closed`
	reversed globProblem = "has a range from high to low, which is empty"
)

// parseGlob takes a pattern apart. Every text is a pattern; problem is empty for a sensible one.
func parseGlob(pattern string) (g glob, problem globProblem) {
	p := []rune(pattern)
	for i := 0; i < len(p); i++ {
		switch p[i] {
		case '*':
			if len(g) == 0 || g[len(g)-1].kind != star {
				g = append(g, element{kind: star})
			}
		case '?':
			g = append(g, element{kind: anyOne})
		case '[':
			end := classEnd(p, i+1)
			if end < 0 {
				problem = unclosed
				g = append(g, element{kind: literal, char: '['})
				continue
			}
			e, dropped := parseClass(p[i+1 : end])
			if dropped {
				problem = reversed
			}
			g = append(g, e)
			i = end
		default:
			g = append(g, element{kind: literal, char: p[i]})
		}
	}
	return g, problem
}

// classEnd finds the "]" that closes a class whose inside begins at i. One that comes first, also
// after "!", belongs to the class.
func classEnd(p []rune, i int) int {
	if i < len(p) && p[i] == '!' {
		i++
	}
	if i < len(p) && p[i] == ']' {
		i++
	}
	if i > len(p) {
		return -1
	}
	if n := slices.Index(p[i:], ']'); n >= 0 {
		return i + n
	}
	return -1
}

// parseClass reads the inside of a class. dropped tells that a range in it is empty. As in Python,
// empty ranges go first, and it is what is left whose first "!" counts.
func parseClass(inside []rune) (e element, dropped bool) {
	e = element{kind: class}
	chunks, dropped := withoutEmptyRanges(rangeChunks(inside))
	if len(chunks) > 0 && len(chunks[0]) > 0 && chunks[0][0] == '!' {
		e.not = true
		chunks[0] = chunks[0][1:]
		if len(chunks[0]) == 0 && len(chunks) > 1 { // the hyphen that is first now is itself
			chunks = chunks[1:]
			chunks[0] = append([]rune{'-'}, chunks[0]...)
		}
	}
	for i, chunk := range chunks {
		from, to := 0, len(chunk)
		if i > 0 { // its first character ends a range
			e.set = append(e.set, span{last(chunks[i-1]), chunk[0]})
			from = 1
		}
		if i < len(chunks)-1 { // its last one begins one
			to--
		}
		for ; from < to; from++ {
			e.set = append(e.set, span{chunk[from], chunk[from]})
		}
	}
	return e, dropped
}

// rangeChunks cuts the inside of a class at the hyphens that make ranges: those with a character
// on either side that no other range has. Python's fnmatch.translate does it so.
func rangeChunks(inside []rune) [][]rune {
	var chunks [][]rune
	begin, look := 0, 1
	if len(inside) > 0 && inside[0] == '!' {
		look = 2
	}
	for look < len(inside) {
		n := slices.Index(inside[look:], '-')
		if n < 0 {
			break
		}
		hyphen := look + n
		chunks = append(chunks, slices.Clone(inside[begin:hyphen]))
		begin, look = hyphen+1, hyphen+3
	}
	switch rest := inside[begin:]; {
	case len(rest) > 0:
		chunks = append(chunks, slices.Clone(rest))
	case len(chunks) > 0: // the last hyphen ends the class and is itself
		chunks[len(chunks)-1] = append(chunks[len(chunks)-1], '-')
	}
	return chunks
}

// withoutEmptyRanges joins chunks whose range is from high to low, without its ends.
func withoutEmptyRanges(chunks [][]rune) ([][]rune, bool) {
	dropped := false
	for k := len(chunks) - 1; k > 0; k-- {
		before, after := chunks[k-1], chunks[k]
		if last(before) > after[0] {
			chunks[k-1] = append(before[:len(before)-1:len(before)-1], after[1:]...)
			chunks = slices.Delete(chunks, k, k+1)
			dropped = true
		}
	}
	return chunks, dropped
}

func last(chunk []rune) rune { return chunk[len(chunk)-1] }

// fits reports whether the pattern fits the whole of s. Its time is at most the product of their
// lengths.
func (g glob) fits(s string) bool {
	at := 0                    // in g
	starAt, starText := -1, "" // the last star, and what followed it when it took nothing more
	for len(s) > 0 {
		char, size := utf8.DecodeRuneInString(s)
		switch {
		case at < len(g) && g[at].kind == star:
			starAt, starText = at, s
			at++
			continue
		case at < len(g) && g[at].takes(char):
			at++
			s = s[size:]
			continue
		case starAt < 0:
			return false
		}
		_, size = utf8.DecodeRuneInString(starText) // the star takes one more
		starText = starText[size:]
		at, s = starAt+1, starText
	}
	for at < len(g) && g[at].kind == star {
		at++
	}
	return at == len(g)
}

// takes reports whether a character fits the element, which is no star.
func (e element) takes(char rune) bool {
	switch e.kind {
	case anyOne:
		return true
	case class:
		in := slices.ContainsFunc(e.set, func(s span) bool { return s.from <= char && char <= s.to })
		return in != e.not
	default:
		return e.char == char
	}
}

// fitsAny reports whether one of the patterns fits.
func fitsAny(globs []glob, s string) bool {
	return slices.ContainsFunc(globs, func(g glob) bool { return g.fits(s) })
}

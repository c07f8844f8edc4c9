// SPDX-License-Identifier: Apache-2.0

package driverlog

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"unicode"
)

// maxLine is the longest line that is read whole.
const maxLine = 64 << 10

// Reader splits what a driver prints into lines. A line longer than maxLine is cut and
// its rest dropped, so that a driver that never ends a line costs no memory.
type Reader struct {
	r *bufio.Reader
	// skipping: the last line was cut, and its rest is still to be dropped.
	skipping bool
}

// NewReader returns a Reader of r.
func NewReader(r io.Reader) *Reader {
	return &Reader{r: bufio.NewReaderSize(r, maxLine)}
}

// Line is one line without its end.
type Line struct {
	Text string
	Cut  bool // too long: the rest is lost
	Open bool // the stream ended before the line did
}

// Next returns the next line. A last line without an end comes before the error.
func (l *Reader) Next() (Line, error) {
	if err := l.skip(); err != nil {
		return Line{}, err
	}
	b, err := l.r.ReadSlice('\n')
	switch {
	case err == nil:
		return Line{Text: trimEnd(b)}, nil
	case errors.Is(err, bufio.ErrBufferFull):
		l.skipping = true
		return Line{Text: string(b), Cut: true}, nil
	case len(b) > 0:
		return Line{Text: trimEnd(b), Open: true}, nil
	default:
		return Line{}, err
	}
}

// skip drops the rest of a line that was cut.
func (l *Reader) skip() error {
	for l.skipping {
		_, err := l.r.ReadSlice('\n')
		switch {
		case err == nil:
			l.skipping = false
		case !errors.Is(err, bufio.ErrBufferFull):
			return err
		}
	}
	return nil
}

func trimEnd(b []byte) string { return strings.TrimRight(string(b), "\r\n") }

// Printable makes a text of unknown origin fit for logs and errors: valid UTF-8 in one line,
// without characters that could move a terminal's cursor or turn the text around.
func Printable(text string) string {
	if plain(text) {
		return text
	}
	var b strings.Builder
	b.Grow(len(text))
	for _, r := range strings.ToValidUTF8(text, string(unicode.ReplacementChar)) {
		switch {
		case r == '\n':
			b.WriteString(`\n`) // stack traces come as fields
		case r != '\t' && harmful(r):
			b.WriteByte('?')
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// plain reports whether text has nothing but what Printable keeps, by a look that is quick for
// most texts.
func plain(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' && c != '\t' || c >= 0x7f {
			return false
		}
	}
	return true
}

// harmful are control characters, line ends, and those that change a text's direction.
func harmful(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp, unicode.Bidi_Control)
}

// Shorten cuts text to about limit bytes and marks the place.
func Shorten(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "") + "…"
}

// lastLines keeps the newest lines.
type lastLines struct {
	limit int
	lines []string
}

func (l *lastLines) add(line string) {
	if len(l.lines) == l.limit {
		copy(l.lines, l.lines[1:])
		l.lines = l.lines[:l.limit-1]
	}
	l.lines = append(l.lines, line)
}

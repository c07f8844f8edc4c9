// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"unicode"
)

// maxLine is the longest line that is read whole.
const maxLine = 64 << 10

// lineReader splits what a driver prints into lines. A line longer than maxLine is cut and
// its rest dropped, so that a driver that never ends a line costs no memory.
type lineReader struct {
	r *bufio.Reader
	// skipping: the last line was cut, and its rest is still to be dropped.
	skipping bool
}

func newLineReader(r io.Reader) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(r, maxLine)}
}

// printedLine is one line without its end.
type printedLine struct {
	text string
	cut  bool // too long: the rest is lost
	open bool // the stream ended before the line did
}

// next returns the next line. A last line without an end comes before the error.
func (l *lineReader) next() (printedLine, error) {
	if err := l.skip(); err != nil {
		return printedLine{}, err
	}
	b, err := l.r.ReadSlice('\n')
	switch {
	case err == nil:
		return printedLine{text: trimEnd(b)}, nil
	case errors.Is(err, bufio.ErrBufferFull):
		l.skipping = true
		return printedLine{text: string(b), cut: true}, nil
	case len(b) > 0:
		return printedLine{text: trimEnd(b), open: true}, nil
	default:
		return printedLine{}, err
	}
}

// skip drops the rest of a line that was cut.
func (l *lineReader) skip() error {
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

// printable makes a text of unknown origin fit for logs and errors: valid UTF-8, without
// control characters that could move a terminal's cursor.
func printable(text string) string {
	text = strings.ToValidUTF8(text, string(unicode.ReplacementChar))
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\t' {
			return '?'
		}
		return r
	}, text)
}

// shorten cuts text to about limit bytes and marks the place.
func shorten(text string, limit int) string {
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

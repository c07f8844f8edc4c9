// SPDX-License-Identifier: Apache-2.0

package messagingrouting

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/parleymq/parley/messaging"
)

// maxProblems is how many of a file are told.
const maxProblems = 10

// problems collects what is wrong with a file.
type problems struct {
	file string
	all  []error
	more int
}

// add notes a problem on a line; zero is no particular one.
func (p *problems) add(line int, hint, format string, args ...any) {
	if len(p.all) == maxProblems {
		p.more++
		return
	}
	place := p.file
	if line > 0 {
		place += ":" + strconv.Itoa(line)
	}
	p.all = append(p.all, &messaging.Error{Code: messaging.CodeConfig, Op: place, Message: fmt.Sprintf(format, args...), Hint: hint})
}

// err is all of it, nil when there is none.
func (p *problems) err() error {
	if p.more > 0 {
		return errors.Join(append(p.all, fmt.Errorf("%s: %d more problems", p.file, p.more))...)
	}
	if len(p.all) == 1 {
		return p.all[0]
	}
	return errors.Join(p.all...)
}

// syntax notes what the YAML parser says, whose messages begin "yaml: line 3: ".
func (p *problems) syntax(err error) {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 0
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if number, message, ok := strings.Cut(rest, ": "); ok {
			if n, err := strconv.Atoi(number); err == nil {
				line, text = n, message
			}
		}
	}
	hint := ""
	if strings.Contains(text, "alphabetic or numeric") || strings.Contains(text, "unknown anchor") {
		hint = `a pattern that begins with "*" must be quoted`
	}
	p.add(line, hint, "the file is not YAML: %s", shown(text))
}

// shown is foreign text in a message: short, and on one line.
func shown(s string) string {
	const most = 80
	s = strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return '�'
		}
		return r
	}, s)
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return s
}

// SPDX-License-Identifier: Apache-2.0

package driverlog

import (
	"log/slog"
	"regexp"
	"strconv"
	"strings"
)

// levelWindow is how far into a line its level is looked for.
const levelWindow = 160

const levelNames = `(TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|CRITICAL|FATAL|PANIC|DPANIC)`

var (
	// leadingLevel: "ERROR:name:text" as Python's logging writes it unless told otherwise,
	// and "[WARN] text".
	leadingLevel = regexp.MustCompile(`^\[?` + levelNames + `\]?[:\s]`)
	// datedLevel: a date and a time, at most three words, and the level. Python, oslo.log,
	// hclog, zap and gRPC write such lines.
	datedLevel = regexp.MustCompile(`^\d{4}[-/]\d\d[-/]\d\d[T ]\S+(?:\s+\S+){0,3}?\s+\[?` + levelNames + `\]?(?:[:\s]|$)`)
)

// levelOfText finds the level in a line of text; one without is Info. The line stays as it is:
// only its author knows where its message begins.
func levelOfText(line string) slog.Level {
	head := line[:min(len(line), levelWindow)]
	for _, pattern := range []*regexp.Regexp{leadingLevel, datedLevel} {
		if m := pattern.FindStringSubmatch(head); m != nil {
			return parseLevel(m[1])
		}
	}
	return slog.LevelInfo
}

// logfmt reads a line of key=value pairs, as slog's text handler and logrus write them. A line
// with anything else in it, or without message and level, is none.
func logfmt(line string) (map[string]any, bool) {
	fields := make(map[string]any)
	for rest := strings.TrimSpace(line); rest != ""; rest = strings.TrimLeft(rest, " ") {
		key, after, ok := strings.Cut(rest, "=")
		if !ok || key == "" || strings.ContainsAny(key, " \t\"") {
			return nil, false
		}
		value, left, ok := logfmtValue(after)
		if !ok {
			return nil, false
		}
		fields[key], rest = value, left
	}
	_, message := fields["msg"]
	_, level := fields["level"]
	return fields, message && level
}

// logfmtValue takes a value, quoted or not, from the beginning of text.
func logfmtValue(text string) (value, rest string, ok bool) {
	if !strings.HasPrefix(text, `"`) {
		value, rest, _ = strings.Cut(text, " ")
		return value, rest, true
	}
	quoted, err := strconv.QuotedPrefix(text)
	if err != nil {
		return "", "", false
	}
	value, err = strconv.Unquote(quoted)
	rest = text[len(quoted):]
	return value, rest, err == nil && (rest == "" || rest[0] == ' ')
}

// SPDX-License-Identifier: Apache-2.0

package pyjson

import "bytes"

// Field is one key and value of an object, as slices of the text that was scanned.
type Field struct {
	// Key is the decoded key: a slice of the text, unless the key held an escape.
	Key []byte
	// Value is the raw value, without the white space around it.
	Value []byte
}

// Fields appends the fields of the object in text to dst, in order and with duplicates. The
// whole text is checked, and nothing of it but the keys is decoded.
func Fields(dst []Field, text []byte) ([]Field, error) {
	i := skipSpace(text, 0)
	if i == len(text) || text[i] != '{' {
		return dst, syntaxError(i, "want an object")
	}
	i = skipSpace(text, i+1)
	if i < len(text) && text[i] == '}' {
		return dst, atEnd(text, i+1)
	}
	for {
		f, next, err := scanField(text, i)
		if err != nil {
			return dst, err
		}
		dst = append(dst, f)
		i = skipSpace(text, next)
		switch {
		case i == len(text):
			return dst, syntaxError(i, "object does not end")
		case text[i] == ',':
			i = skipSpace(text, i+1)
		case text[i] == '}':
			return dst, atEnd(text, i+1)
		default:
			return dst, syntaxError(i, "want a comma or the end of the object")
		}
	}
}

// scanField reads the key and value at i and returns what follows them.
func scanField(text []byte, i int) (Field, int, error) {
	keyEnd, err := scanString(text, i)
	if err != nil {
		return Field{}, 0, err
	}
	key := text[i+1 : keyEnd-1]
	if bytes.IndexByte(key, '\\') >= 0 {
		key = unescape(nil, key)
	}
	i = skipSpace(text, keyEnd)
	if i == len(text) || text[i] != ':' {
		return Field{}, 0, syntaxError(i, "want a colon")
	}
	i = skipSpace(text, i+1)
	end, err := scanValue(text, i, 1)
	if err != nil {
		return Field{}, 0, err
	}
	return Field{Key: key, Value: text[i:end:end]}, end, nil
}

// Valid returns nil when text is one value, and what is wrong with it otherwise.
func Valid(text []byte) error {
	i := skipSpace(text, 0)
	end, err := scanValue(text, i, 0)
	if err != nil {
		return err
	}
	return atEnd(text, end)
}

// Trim returns text without the white space around it.
func Trim(text []byte) []byte {
	start, end := skipSpace(text, 0), len(text)
	for end > start && isSpace(text[end-1]) {
		end--
	}
	return text[start:end]
}

// IsNull reports whether the raw value is null.
func IsNull(value []byte) bool { return string(value) == "null" }

// IsString reports whether the raw value is a string.
func IsString(value []byte) bool { return len(value) >= 2 && value[0] == '"' }

func atEnd(text []byte, i int) error {
	if i = skipSpace(text, i); i != len(text) {
		return syntaxError(i, "text after the end")
	}
	return nil
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

func skipSpace(text []byte, i int) int {
	for i < len(text) && isSpace(text[i]) {
		i++
	}
	return i
}

// scanValue returns the end of the value that starts at i. depth is how many containers are
// around it.
func scanValue(text []byte, i, depth int) (int, error) {
	if i >= len(text) {
		return 0, syntaxError(i, "want a value")
	}
	switch text[i] {
	case '"':
		return scanString(text, i)
	case '{':
		return scanObject(text, i, depth+1)
	case '[':
		return scanArray(text, i, depth+1)
	case 't':
		return scanWord(text, i, "true")
	case 'f':
		return scanWord(text, i, "false")
	case 'n':
		return scanWord(text, i, "null")
	case 'N':
		return scanWord(text, i, "NaN")
	case 'I':
		return scanWord(text, i, "Infinity")
	case '-':
		if i+1 < len(text) && text[i+1] == 'I' {
			return scanWord(text, i, "-Infinity")
		}
	}
	end, _, err := scanNumber(text, i)
	return end, err
}

func scanObject(text []byte, i, depth int) (int, error) {
	if depth > MaxDepth {
		return 0, syntaxError(i, "nested too deeply")
	}
	i = skipSpace(text, i+1)
	if i < len(text) && text[i] == '}' {
		return i + 1, nil
	}
	for {
		end, err := scanString(text, i)
		if err != nil {
			return 0, err
		}
		i = skipSpace(text, end)
		if i == len(text) || text[i] != ':' {
			return 0, syntaxError(i, "want a colon")
		}
		if i, err = scanValue(text, skipSpace(text, i+1), depth); err != nil {
			return 0, err
		}
		i = skipSpace(text, i)
		switch {
		case i == len(text):
			return 0, syntaxError(i, "object does not end")
		case text[i] == ',':
			i = skipSpace(text, i+1)
		case text[i] == '}':
			return i + 1, nil
		default:
			return 0, syntaxError(i, "want a comma or the end of the object")
		}
	}
}

func scanArray(text []byte, i, depth int) (int, error) {
	if depth > MaxDepth {
		return 0, syntaxError(i, "nested too deeply")
	}
	i = skipSpace(text, i+1)
	if i < len(text) && text[i] == ']' {
		return i + 1, nil
	}
	for {
		end, err := scanValue(text, i, depth)
		if err != nil {
			return 0, err
		}
		i = skipSpace(text, end)
		switch {
		case i == len(text):
			return 0, syntaxError(i, "array does not end")
		case text[i] == ',':
			i = skipSpace(text, i+1)
		case text[i] == ']':
			return i + 1, nil
		default:
			return 0, syntaxError(i, "want a comma or the end of the array")
		}
	}
}

func scanWord(text []byte, i int, word string) (int, error) {
	if len(text)-i < len(word) || string(text[i:i+len(word)]) != word {
		return 0, syntaxError(i, "want a value")
	}
	return i + len(word), nil
}

// scanString returns the end of the string that starts at i, behind its quote.
func scanString(text []byte, i int) (int, error) {
	if i >= len(text) || text[i] != '"' {
		return 0, syntaxError(i, "want a string")
	}
	for i++; i < len(text); i++ {
		c := text[i]
		if plainByte[c] {
			continue
		}
		switch {
		case c == '"':
			return i + 1, nil
		case c == '\\':
			n := escapeLen(text[i:])
			if n == 0 {
				return 0, syntaxError(i, "unknown escape in a string")
			}
			i += n - 1
		case c < ' ':
			return 0, syntaxError(i, "control character in a string")
		}
	}
	return 0, syntaxError(i, "string does not end")
}

// escapeLen returns the length of the escape at the start of s, 0 when it is none.
func escapeLen(s []byte) int {
	if len(s) < 2 {
		return 0
	}
	switch s[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if _, ok := hex4(s[2:]); ok {
			return 6
		}
	}
	return 0
}

// hex4 reads four hexadecimal digits.
func hex4(s []byte) (rune, bool) {
	if len(s) < 4 {
		return 0, false
	}
	var r rune
	for _, c := range s[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// scanNumber returns the end of the number at i and whether it is an integer.
func scanNumber(text []byte, i int) (end int, integer bool, err error) {
	start := i
	if i < len(text) && text[i] == '-' {
		i++
	}
	switch {
	case i < len(text) && text[i] == '0':
		i++
	case i < len(text) && text[i] >= '1' && text[i] <= '9':
		i = skipDigits(text, i)
	case i == start:
		return 0, false, syntaxError(i, "want a value")
	default:
		return 0, false, syntaxError(i, "want a digit")
	}
	integer = true
	if i < len(text) && text[i] == '.' {
		integer = false
		next := skipDigits(text, i+1)
		if next == i+1 {
			return 0, false, syntaxError(next, "want a digit")
		}
		i = next
	}
	if i < len(text) && (text[i] == 'e' || text[i] == 'E') {
		integer = false
		i++
		if i < len(text) && (text[i] == '+' || text[i] == '-') {
			i++
		}
		next := skipDigits(text, i)
		if next == i {
			return 0, false, syntaxError(next, "want a digit")
		}
		i = next
	}
	return i, integer, nil
}

func skipDigits(text []byte, i int) int {
	for i < len(text) && text[i] >= '0' && text[i] <= '9' {
		i++
	}
	return i
}

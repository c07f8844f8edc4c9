// SPDX-License-Identifier: Apache-2.0

package pyjson

import (
	"bytes"
	"slices"
	"unicode/utf16"
	"unicode/utf8"
)

// plainByte tells the bytes that stand for themselves inside a string, among them all of
// UTF-8's.
var plainByte = [256]bool(plainBytes())

func plainBytes() []bool {
	t := make([]bool, 256)
	for i := range t {
		t[i] = i >= ' ' && i != '"' && i != '\\'
	}
	return t
}

const hexDigits = "0123456789abcdef"

// AppendString appends s as a JSON string with its quotes. Invalid UTF-8 becomes U+FFFD;
// everything else that JSON lets stand is left as it is.
func AppendString[T string | []byte](dst []byte, s T) []byte {
	dst = append(dst, '"')
	dst = AppendEscaped(dst, s)
	return append(dst, '"')
}

// AppendEscaped appends s escaped as the inside of a JSON string, without quotes.
func AppendEscaped[T string | []byte](dst []byte, s T) []byte {
	dst = slices.Grow(dst, len(s)+len(s)/8)
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if plainByte[c] {
				i++
				continue
			}
			dst = append(dst, s[start:i]...)
			dst = appendEscape(dst, c)
			i++
			start = i
			continue
		}
		size := runeLen(s[i:min(i+utf8.UTFMax, len(s))])
		if size > 0 {
			i += size
			continue
		}
		dst = append(dst, s[start:i]...)
		dst = append(dst, "\ufffd"...)
		i++
		start = i
	}
	return append(dst, s[start:]...)
}

// runeLen returns the length of the character at the start of s, 0 when it is none.
func runeLen[T string | []byte](s T) int {
	r, size := utf8.DecodeRuneInString(string(s))
	if r == utf8.RuneError && size <= 1 {
		return 0
	}
	return size
}

func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	case '\b':
		return append(dst, '\\', 'b')
	case '\f':
		return append(dst, '\\', 'f')
	default:
		return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
	}
}

// Unquote appends the text of the JSON string value, which must be one string with its
// quotes, to dst. The result is UTF-8: lone surrogates and invalid bytes become U+FFFD.
func Unquote(dst, value []byte) ([]byte, error) {
	end, err := scanString(value, 0)
	if err != nil {
		return dst, err
	}
	if end != len(value) {
		return dst, syntaxError(end, "text after the end")
	}
	return unescape(dst, value[1:end-1]), nil
}

// UnquoteScanned is Unquote for a string that a scan has returned as the Value of a Field,
// and that is therefore known to be well formed.
func UnquoteScanned(dst, value []byte) []byte { return unescape(dst, value[1:len(value)-1]) }

// unescape appends what inner stands for. inner has been scanned.
func unescape(dst, inner []byte) []byte {
	start := len(dst)
	dst = slices.Grow(dst, len(inner))
	for len(inner) > 0 {
		i := bytes.IndexByte(inner, '\\')
		if i < 0 {
			dst = append(dst, inner...)
			break
		}
		dst = append(dst, inner[:i]...)
		inner = inner[i:]
		var n int
		dst, n = appendUnescaped(dst, inner)
		inner = inner[n:]
	}
	if !utf8.Valid(dst[start:]) {
		// The trip through runes makes U+FFFD of each invalid byte, as encoding/json does.
		return append(dst[:start], string([]rune(string(dst[start:])))...)
	}
	return dst
}

// appendUnescaped appends the character of the escape at the start of s and returns the
// escape's length.
func appendUnescaped(dst, s []byte) ([]byte, int) {
	switch s[1] {
	case 'b':
		return append(dst, '\b'), 2
	case 'f':
		return append(dst, '\f'), 2
	case 'n':
		return append(dst, '\n'), 2
	case 'r':
		return append(dst, '\r'), 2
	case 't':
		return append(dst, '\t'), 2
	case 'u':
		r, n := escapedRune(s)
		return utf8.AppendRune(dst, r), n
	default:
		return append(dst, s[1]), 2
	}
}

// escapedRune reads \uXXXX, or two of them that are a surrogate pair.
func escapedRune(s []byte) (rune, int) {
	r, _ := hex4(s[2:])
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	if len(s) >= 12 && s[6] == '\\' && s[7] == 'u' {
		if low, ok := hex4(s[8:]); ok {
			if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
				return pair, 12
			}
		}
	}
	return utf8.RuneError, 6
}

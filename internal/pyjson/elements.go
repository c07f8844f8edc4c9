// SPDX-License-Identifier: Apache-2.0

package pyjson

// Elements appends the raw elements of the array in text to dst, as slices of the text without
// the white space around them. The whole text is checked, and nothing is decoded. An array of more
// than most elements is an error: a short text can have many.
func Elements(dst [][]byte, text []byte, most int) ([][]byte, error) {
	i := skipSpace(text, 0)
	if i == len(text) || text[i] != '[' {
		return dst, syntaxError(i, "want an array")
	}
	i = skipSpace(text, i+1)
	if i < len(text) && text[i] == ']' {
		return dst, atEnd(text, i+1)
	}
	for n := 0; ; n++ {
		if n == most {
			return dst, syntaxError(i, "too many elements")
		}
		end, err := scanValue(text, i, 1)
		if err != nil {
			return dst, err
		}
		dst = append(dst, text[i:end:end])
		i = skipSpace(text, end)
		switch {
		case i == len(text):
			return dst, syntaxError(i, "array does not end")
		case text[i] == ',':
			i = skipSpace(text, i+1)
		case text[i] == ']':
			return dst, atEnd(text, i+1)
		default:
			return dst, syntaxError(i, "want a comma or the end of the array")
		}
	}
}

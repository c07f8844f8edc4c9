// SPDX-License-Identifier: Apache-2.0

package pyjson

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
)

// Decode returns the value of text: nil, bool, string, int64, *big.Int (an integer that does
// not fit), float64, []any or map[string]any.
func Decode(text []byte) (any, error) {
	d := decoder{text: text}
	v, err := d.value(0)
	if err != nil {
		return nil, err
	}
	return v, atEnd(text, d.i)
}

type decoder struct {
	text []byte
	i    int
}

func (d *decoder) value(depth int) (any, error) {
	d.i = skipSpace(d.text, d.i)
	if d.i == len(d.text) {
		return nil, syntaxError(d.i, "want a value")
	}
	switch d.text[d.i] {
	case '"':
		return d.string()
	case '{':
		return d.object(depth + 1)
	case '[':
		return d.array(depth + 1)
	case 't':
		return true, d.word("true")
	case 'f':
		return false, d.word("false")
	case 'n':
		return nil, d.word("null")
	case 'N':
		return math.NaN(), d.word("NaN")
	case 'I':
		return math.Inf(1), d.word("Infinity")
	case '-':
		if d.i+1 < len(d.text) && d.text[d.i+1] == 'I' {
			return math.Inf(-1), d.word("-Infinity")
		}
	}
	return d.number()
}

func (d *decoder) word(word string) error {
	end, err := scanWord(d.text, d.i, word)
	d.i = end
	return err
}

func (d *decoder) string() (string, error) {
	end, err := scanString(d.text, d.i)
	if err != nil {
		return "", err
	}
	s := unescape(nil, d.text[d.i+1:end-1])
	d.i = end
	return string(s), nil
}

func (d *decoder) number() (any, error) {
	end, integer, err := scanNumber(d.text, d.i)
	if err != nil {
		return nil, err
	}
	start, s := d.i, string(d.text[d.i:end])
	d.i = end
	if !integer {
		// The only error left is a value out of range, which Python reads as infinite.
		f, _ := strconv.ParseFloat(s, 64)
		return f, nil
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n, nil
	}
	if len(s) > MaxIntDigits {
		return nil, syntaxError(start, "integer has too many digits")
	}
	n, ok := new(big.Int).SetString(s, 10)
	if !ok {
		return nil, syntaxError(start, "want an integer")
	}
	return n, nil
}

func (d *decoder) array(depth int) (any, error) {
	if depth > MaxDepth {
		return nil, syntaxError(d.i, "nested too deeply")
	}
	list := []any{}
	d.i = skipSpace(d.text, d.i+1)
	if d.i < len(d.text) && d.text[d.i] == ']' {
		d.i++
		return list, nil
	}
	for {
		v, err := d.value(depth)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
		more, err := d.more(']', "array")
		if err != nil || !more {
			return list, err
		}
	}
}

func (d *decoder) object(depth int) (any, error) {
	if depth > MaxDepth {
		return nil, syntaxError(d.i, "nested too deeply")
	}
	object := map[string]any{}
	d.i = skipSpace(d.text, d.i+1)
	if d.i < len(d.text) && d.text[d.i] == '}' {
		d.i++
		return object, nil
	}
	for {
		key, err := d.string()
		if err != nil {
			return nil, err
		}
		d.i = skipSpace(d.text, d.i)
		if d.i == len(d.text) || d.text[d.i] != ':' {
			return nil, syntaxError(d.i, "want a colon")
		}
		d.i++
		if object[key], err = d.value(depth); err != nil {
			return nil, err
		}
		more, err := d.more('}', "object")
		if err != nil || !more {
			return object, err
		}
		d.i = skipSpace(d.text, d.i)
	}
}

// more reads the comma or the end that follows an element.
func (d *decoder) more(end byte, what string) (bool, error) {
	d.i = skipSpace(d.text, d.i)
	switch {
	case d.i == len(d.text):
		return false, syntaxError(d.i, what+" does not end")
	case d.text[d.i] == ',':
		d.i++
		return true, nil
	case d.text[d.i] == end:
		d.i++
		return false, nil
	default:
		return false, syntaxError(d.i, "want a comma or the end of the "+what)
	}
}

var errTooDeep = errors.New("json: value is nested too deeply")

// Encode returns the text of v. See Append.
func Encode(v any) ([]byte, error) { return Append(nil, v) }

// Append appends the text of v to dst. It takes what Decode returns and Go's other integers;
// keys are sorted, floats keep a point or an exponent so that Python reads floats back.
func Append(dst []byte, v any) ([]byte, error) { return appendValue(dst, v, 0) }

func appendValue(dst []byte, v any, depth int) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...), nil
	case bool:
		return strconv.AppendBool(dst, v), nil
	case string:
		return AppendString(dst, v), nil
	case int:
		return strconv.AppendInt(dst, int64(v), 10), nil
	case int32:
		return strconv.AppendInt(dst, int64(v), 10), nil
	case int64:
		return strconv.AppendInt(dst, v, 10), nil
	case uint32:
		return strconv.AppendUint(dst, uint64(v), 10), nil
	case uint64:
		return strconv.AppendUint(dst, v, 10), nil
	case *big.Int:
		return v.Append(dst, 10), nil
	case float32:
		return appendFloat(dst, float64(v)), nil
	case float64:
		return appendFloat(dst, v), nil
	case []any:
		return appendArray(dst, v, depth+1)
	case map[string]any:
		return appendObject(dst, v, depth+1)
	default:
		return dst, fmt.Errorf("json: cannot encode a %T", v)
	}
}

// appendFloat writes as Python's repr does: an exponent for the very small and very large.
func appendFloat(dst []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, "NaN"...)
	case math.IsInf(f, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(f, -1):
		return append(dst, "-Infinity"...)
	}
	if abs := math.Abs(f); abs != 0 && (abs < 1e-4 || abs >= 1e16) {
		return strconv.AppendFloat(dst, f, 'e', -1, 64)
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	dst = append(dst, s...)
	if !strings.Contains(s, ".") {
		dst = append(dst, ".0"...)
	}
	return dst
}

func appendArray(dst []byte, list []any, depth int) (_ []byte, err error) {
	if depth > MaxDepth {
		return dst, errTooDeep
	}
	dst = append(dst, '[')
	for i, v := range list {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		if dst, err = appendValue(dst, v, depth); err != nil {
			return dst, err
		}
	}
	return append(dst, ']'), nil
}

func appendObject(dst []byte, object map[string]any, depth int) (_ []byte, err error) {
	if depth > MaxDepth {
		return dst, errTooDeep
	}
	dst = append(dst, '{')
	for i, key := range slices.Sorted(maps.Keys(object)) {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = AppendString(dst, key)
		dst = append(dst, ": "...)
		if dst, err = appendValue(dst, object[key], depth); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}

// SPDX-License-Identifier: Apache-2.0

package scripted

// The types of AMQP values that Go has no type of its own for.
type (
	// Symbol is a name out of a list that the protocol or the two peers agreed on.
	Symbol string
	// Timestamp is in milliseconds since 1970.
	Timestamp int64
	// Char is one Unicode character.
	Char uint32
	// UUID is its 16 bytes.
	UUID [16]byte
	// List is a sequence of any values. Performatives and most sections of messages are lists.
	List []any
	// Map has keys that Go can compare: numbers, strings, symbols.
	Map map[any]any
	// Array is a sequence of values of one type.
	Array []any
	// Described is a value with the description of its meaning.
	Described struct{ Descriptor, Value any }
	// Opaque is a value of fixed width that nobody here computes with, such as a decimal.
	Opaque struct {
		Code byte
		Data string
	}
)

// text is field i when it is a string or symbol, else "".
func (l List) text(i int) string {
	switch v := l.at(i).(type) {
	case string:
		return v
	case Symbol:
		return string(v)
	default:
		return ""
	}
}

// num is field i when it is an unsigned number, else other.
func (l List) num(i int, other uint64) uint64 {
	if n, ok := unsigned(l.at(i)); ok {
		return n
	}
	return other
}

// flag is field i when it is a truth value, else false.
func (l List) flag(i int) bool {
	v, _ := l.at(i).(bool)
	return v
}

// described is the list in field i with its descriptor's code; nil when there is none.
func (l List) described(i int) (uint64, List) {
	d, _ := l.at(i).(Described)
	code, _ := unsigned(d.Descriptor)
	fields, _ := d.Value.(List)
	return code, fields
}

// at is field i. Fields at the end may be left out, and are null then.
func (l List) at(i int) any {
	if i < len(l) {
		return l[i]
	}
	return nil
}

func unsigned(v any) (uint64, bool) {
	switch v := v.(type) {
	case uint8:
		return uint64(v), true
	case uint16:
		return uint64(v), true
	case uint32:
		return uint64(v), true
	case uint64:
		return v, true
	default:
		return 0, false
	}
}

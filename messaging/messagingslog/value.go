// SPDX-License-Identifier: Apache-2.0

package messagingslog

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math/big"
	"time"
	"unicode/utf8"
)

// maxDepth is how deep groups are looked into.
const maxDepth = 32

// builder turns attributes into what JSON has.
type builder struct {
	maxText int
	err     error // the first that an attribute held
}

// extra returns the attributes of a handler and its record.
func (b *builder) extra(steps []step, record slog.Record) map[string]any {
	root := make(map[string]any)
	object := root
	var path []string // of the groups that are open
	var parents []map[string]any
	for _, s := range steps {
		if s.group == "" {
			b.addAll(object, s.attrs, 0)
			continue
		}
		inner, ok := object[s.group].(map[string]any)
		if !ok {
			inner = make(map[string]any)
			object[s.group] = inner
		}
		path, parents = append(path, s.group), append(parents, object)
		object = inner
	}
	record.Attrs(func(a slog.Attr) bool {
		b.add(object, a, 0)
		return true
	})
	for i := len(path) - 1; i >= 0; i-- { // groups that stayed empty are not there
		if inner, ok := parents[i][path[i]].(map[string]any); ok && len(inner) == 0 {
			delete(parents[i], path[i])
		}
	}
	return root
}

func (b *builder) addAll(object map[string]any, attrs []slog.Attr, depth int) {
	for _, a := range attrs {
		b.add(object, a, depth)
	}
}

// add puts an attribute into an object. Of two of the same name the last one stays, and two groups
// of the same name are one.
func (b *builder) add(object map[string]any, a slog.Attr, depth int) {
	v := resolved(a.Value)
	if a.Key == "" && v.Equal(slog.Value{}) || depth > maxDepth {
		return
	}
	if v.Kind() != slog.KindGroup {
		object[a.Key] = b.value(v)
		return
	}
	attrs := v.Group()
	switch {
	case a.Key == "":
		b.addAll(object, attrs, depth+1)
		return
	case len(attrs) == 0:
		return
	}
	inner, ok := object[a.Key].(map[string]any)
	if !ok {
		inner = make(map[string]any)
	}
	b.addAll(inner, attrs, depth+1)
	if len(inner) > 0 {
		object[a.Key] = inner
	}
}

// resolved is the value behind a LogValuer. Those that panic are the application's; slog itself
// makes an error of it.
func resolved(v slog.Value) slog.Value { return v.Resolve() }

// value is what JSON has for a value that is no group.
func (b *builder) value(v slog.Value) any {
	switch v.Kind() {
	case slog.KindBool:
		return v.Bool()
	case slog.KindInt64:
		return v.Int64()
	case slog.KindUint64:
		return new(big.Int).SetUint64(v.Uint64())
	case slog.KindFloat64:
		return v.Float64()
	case slog.KindString:
		return cut(v.String(), b.maxText)
	case slog.KindDuration:
		return v.Duration().String()
	case slog.KindTime:
		return v.Time().Format(time.RFC3339Nano)
	default:
		return b.any(v.Any())
	}
}

// any is what JSON has for a value of any type.
func (b *builder) any(v any) any {
	switch v := v.(type) {
	case nil:
		return nil
	case error:
		if b.err == nil {
			b.err = v
		}
		return b.errorText(v)
	case *slog.Source:
		return fmt.Sprintf("%s:%d", v.File, v.Line)
	default:
		return b.encoded(v)
	}
}

// errorText is the text of an error, which is the application's code and may panic.
func (b *builder) errorText(err error) (text string) {
	defer func() {
		if recover() != nil {
			text = unreadable(err)
		}
	}()
	return cut(err.Error(), b.maxText)
}

// encoded is a value as JSON. One that is too large is told by its type, and so is one that has no
// JSON: what fmt makes of it might show a secret.
func (b *builder) encoded(v any) (out any) {
	defer func() {
		if recover() != nil {
			out = unreadable(v)
		}
	}()
	text, err := json.Marshal(v)
	if err != nil || len(text) > b.maxText {
		return unreadable(v)
	}
	return json.RawMessage(text)
}

func unreadable(v any) string { return fmt.Sprintf("(%T)", v) }

// cut shortens a text, at a boundary of characters.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most] + "…"
}

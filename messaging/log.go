// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/parleymq/parley/internal/pyjson"
)

// maskedText stands for a secret wherever one would be printed.
const maskedText = "***"

// maxLogged is the length at which a logged value is cut, in bytes.
const maxLogged = 2 << 10

// Redacted returns v for logging: as JSON text, with the values of keys such as password,
// token or secret replaced by "***" at any depth, and cut after 2 KiB. The work is done when a
// handler wants the text: a record that is not logged costs nothing. A json.RawMessage or a
// []byte is taken as JSON; what is not JSON is described by its type alone.
//
// Also found are secrets in JSON text inside a string, in a list of two whose first is such a
// key, and under "value" in an object whose "key" or "name" is one. A secret in any other text,
// such as an error message, or under a key that does not tell, is not recognised: log values that
// you know, rather than all that you got.
//
//	logger.Debug("request", "args", messaging.Redacted(args))
func Redacted(v any) slog.LogValuer { return redacted{v} }

type redacted struct{ v any }

// LogValue implements slog.LogValuer.
func (r redacted) LogValue() slog.Value {
	v, err := plainValue(r.v)
	if err != nil {
		return slog.StringValue(fmt.Sprintf("(%T that is not JSON)", r.v))
	}
	w := redactor{}
	w.value(v, 0)
	return slog.StringValue(truncate(string(w.text), maxLogged))
}

// plainValue turns v into what pyjson.Decode would return for it, or as near as redactor needs.
func plainValue(v any) (any, error) {
	switch v := v.(type) {
	case nil, bool, string, int, int64, float64, []any, map[string]any:
		return v, nil
	case RequestContext:
		return map[string]any(v), nil
	case json.RawMessage:
		return pyjson.Decode(v)
	case []byte:
		return pyjson.Decode(v)
	default:
		text, err := new(codec).encode(v)
		if err != nil {
			return nil, err
		}
		return pyjson.Decode(text)
	}
}

// redactor writes a value as JSON text and stops soon after maxLogged, unless it is to write the
// whole.
type redactor struct {
	text   []byte
	whole  bool
	masked bool // something was
}

func (w *redactor) full() bool { return !w.whole && len(w.text) > maxLogged }

func (w *redactor) value(v any, depth int) {
	if w.full() {
		return
	}
	if depth > pyjson.MaxDepth {
		w.text = append(w.text, `"…"`...)
		return
	}
	switch v := v.(type) {
	case map[string]any:
		w.object(v, depth)
	case []any:
		w.list(v, depth)
	case string:
		w.string(v, depth)
	default:
		w.scalar(v, depth)
	}
}

// string writes a text. When it is the text of a JSON object or list, as an envelope or a
// stringified body is, it is looked into.
func (w *redactor) string(s string, depth int) {
	if strings.HasPrefix(s, "{") || strings.HasPrefix(s, "[") {
		if v, err := pyjson.Decode([]byte(s)); err == nil {
			inner := redactor{whole: w.whole}
			inner.value(v, depth+1)
			if inner.masked || !w.whole {
				s = string(inner.text)
			}
			w.masked = w.masked || inner.masked
		}
	}
	if !w.whole { // a character may take 6 bytes, never less than one: what is beyond is cut anyway
		s = truncate(s, maxLogged+1)
	}
	w.text = pyjson.AppendString(w.text, s)
}

func (w *redactor) object(object map[string]any, depth int) {
	named := isSecretName(object["key"]) || isSecretName(object["name"])
	w.text = append(w.text, '{')
	for i, key := range slices.Sorted(maps.Keys(object)) {
		if w.full() {
			return
		}
		if i > 0 {
			w.text = append(w.text, ", "...)
		}
		w.text = pyjson.AppendString(w.text, key)
		w.text = append(w.text, ": "...)
		if isSecretKey(key) || named && key == "value" {
			w.mask()
			continue
		}
		w.value(object[key], depth+1)
	}
	w.text = append(w.text, '}')
}

func (w *redactor) list(list []any, depth int) {
	w.text = append(w.text, '[')
	for i, v := range list {
		if w.full() {
			return
		}
		if i > 0 {
			w.text = append(w.text, ", "...)
		}
		if i == 1 && len(list) == 2 && isSecretName(list[0]) {
			w.mask()
			continue
		}
		w.value(v, depth+1)
	}
	w.text = append(w.text, ']')
}

func (w *redactor) mask() {
	w.masked = true
	w.text = append(w.text, `"`+maskedText+`"`...)
}

// scalar writes what is neither text nor holds anything, and whatever else stands in an
// untyped map after a turn through JSON.
func (w *redactor) scalar(v any, depth int) {
	if text, err := pyjson.Append(w.text, v); err == nil {
		w.text = text
		return
	}
	plain, err := plainValue(v)
	if err != nil {
		w.text = fmt.Appendf(w.text, `"(%T)"`, v)
		return
	}
	w.value(plain, depth+1)
}

// isSecretName reports whether a value is the name of a secret.
func isSecretName(v any) bool {
	name, ok := v.(string)
	return ok && isSecretKey(name)
}

// isSecretKey reports whether a key names a secret. Case, "-" and "_" do not matter.
func isSecretKey(key string) bool {
	k := strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(key))
	for _, word := range [...]string{
		"password", "passwd", "passphrase", "adminpass", "newpass", "secret", "token",
		"credential", "apikey", "privatekey", "authorization", "cookie",
	} {
		if strings.Contains(k, word) {
			return true
		}
	}
	return k == "pass" || k == "pwd"
}

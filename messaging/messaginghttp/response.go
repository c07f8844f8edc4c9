// SPDX-License-Identifier: Apache-2.0

package messaginghttp

import (
	"fmt"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// response is a response on the wire.
type response struct {
	// Status is "200 OK"; null when the handler took over the connection.
	Status  *string           `json:"status"`
	Headers map[string]string `json:"headers"`
}

// exception is a panic on the wire.
type exception struct {
	Value     string   `json:"value"`
	Traceback []string `json:"traceback"`
}

// response is what a writer has sent.
func (m *middleware) response(w *writer) *response {
	if w.hijacked {
		return &response{Headers: map[string]string{}}
	}
	w.begin(http.StatusOK) // a handler that wrote nothing
	status := strconv.Itoa(w.status)
	if text := http.StatusText(w.status); text != "" {
		status += " " + text
	}
	out := &response{Status: &status, Headers: make(map[string]string)}
	names := slices.Sorted(maps.Keys(w.sent))
	for _, name := range names[:min(len(names), maxHeaders)] {
		if m.secrets.has(name) {
			out.Headers[cut(name)] = masked
			continue
		}
		out.Headers[cut(name)] = m.values(w.sent[name])
	}
	return out
}

// newException describes a panic.
func newException(value any, frames []runtime.Frame) *exception {
	e := &exception{Value: panicText(value), Traceback: []string{}}
	for _, f := range frames {
		e.Traceback = append(e.Traceback, fmt.Sprintf("  File %q, line %d, in %s\n", f.File, f.Line, f.Function))
	}
	return e
}

// panicText is the text of a panic's value, whose methods are the application's code and may panic.
func panicText(value any) (text string) {
	defer func() {
		if recover() != nil {
			text = fmt.Sprintf("(%T)", value)
		}
	}()
	switch v := value.(type) {
	case error:
		text = fmt.Sprintf("%T(%q)", v, v.Error())
	case string:
		text = fmt.Sprintf("%q", v)
	case fmt.Stringer:
		text = fmt.Sprintf("%T(%q)", v, v.String())
	case int, int64, uint, uint64, float64, bool:
		text = fmt.Sprintf("%T(%v)", v, v)
	default: // its fields might be secrets
		text = fmt.Sprintf("(%T)", v)
	}
	return cut(text)
}

// callers are the frames of this goroutine down to where it panics, outermost first, as Python's
// tracebacks are. It is called by what was deferred.
func callers() []runtime.Frame {
	var pcs [2 * maxFrames]uintptr
	n := runtime.Callers(1, pcs[:])
	frames := runtime.CallersFrames(pcs[:n])
	var all []runtime.Frame
	for panicked, more := false, true; more && len(all) < maxFrames; {
		var f runtime.Frame
		f, more = frames.Next()
		switch {
		case f.Function == "runtime.gopanic":
			panicked = true
		case panicked && (len(all) > 0 || !strings.HasPrefix(f.Function, "runtime.")):
			all = append(all, f)
		}
	}
	slices.Reverse(all)
	return all
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/parleymq/parley/internal/pyjson"
	"github.com/parleymq/parley/messaging"
)

// The forms of output.
const (
	outputText = "text"
	outputJSON = "json"
)

func (a *app) json() bool { return a.output == outputJSON }

// say writes text for people. Nobody is left to be told when that fails; results that matter
// are written by print.
func say(w io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }

// print writes a result.
func (a *app) print(text string) error {
	_, err := io.WriteString(a.stdout, text)
	return err
}

// printJSON writes v as one line.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// printResult writes the result of a call: for people a string is shown as it is and
// everything else indented, for programs the JSON comes as it was received.
func (a *app) printResult(raw json.RawMessage) error {
	text := bytes.TrimSpace(raw)
	if len(text) == 0 {
		text = []byte("null")
	}
	if !a.json() {
		text = forPeople(text)
	}
	return a.print(string(text) + "\n")
}

func forPeople(text []byte) []byte {
	if pyjson.IsString(text) {
		if plain, err := pyjson.Unquote(nil, text); err == nil {
			return plain
		}
	}
	var out bytes.Buffer
	if err := json.Indent(&out, text, "", "  "); err != nil {
		return text // Python's NaN and Infinity
	}
	return out.Bytes()
}

// printFailure writes an error: one line for what failed and one for what to do, or an object.
func (a *app) printFailure(err error, interrupted bool) {
	f := describe(err, interrupted)
	if a.json() {
		// Nothing is left to report to when standard error fails.
		_ = printJSON(a.stderr, map[string]failure{"error": f})
		return
	}
	if _, shown := errors.AsType[*shownError](err); shown && !interrupted {
		return
	}
	p := a.paint(a.stderr)
	text := f.Message
	if f.Code == codeRemote {
		text = "the remote side raised " + remoteText(err)
	}
	say(a.stderr, "%s %s\n", p.red("parley:"), text)
	if f.Hint != "" {
		say(a.stderr, "  %s %s\n", p.bold("hint:"), f.Hint)
	}
}

func remoteText(err error) string {
	if e, ok := errors.AsType[*messaging.RemoteError](err); ok {
		return e.Error()
	}
	return err.Error()
}

// warn tells a person something that is no failure.
func (a *app) warn(text string) {
	if a.json() {
		_ = printJSON(a.stderr, map[string]string{"warning": text}) // as for failures
		return
	}
	say(a.stderr, "%s %s\n", a.paint(a.stderr).yellow("parley: warning:"), text)
}

// paint colours text, on a terminal only.
type paint struct{ on bool }

func (a *app) paint(w io.Writer) paint {
	return paint{on: isTerminal(w) && a.env("NO_COLOR") == "" && a.env("TERM") != "dumb"}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func (p paint) red(s string) string    { return p.wrap("31", s) }
func (p paint) green(s string) string  { return p.wrap("32", s) }
func (p paint) yellow(s string) string { return p.wrap("33", s) }
func (p paint) bold(s string) string   { return p.wrap("1", s) }

func (p paint) wrap(code, s string) string {
	if !p.on || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// pad fills s with spaces up to a width, before it is coloured.
func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-len([]rune(s))))
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/parleymq/parley/internal/pyjson"
)

// argsHint tells how arguments are written.
const argsHint = "write key=text, key:=json, one JSON object, or - to read one from standard input"

// parseArgs reads the arguments of a method: any number of key=text and key:=json, or one
// JSON object, or "-" for an object on standard input.
func parseArgs(args []string, stdin io.Reader) (map[string]any, error) {
	if len(args) == 1 {
		switch {
		case args[0] == "-":
			return readArgs(stdin)
		case strings.HasPrefix(strings.TrimSpace(args[0]), "{"):
			return parseObject("the argument", []byte(args[0]))
		}
	}
	values := make(map[string]any, len(args))
	for _, arg := range args {
		key, value, err := parsePair(arg)
		if err != nil {
			return nil, err
		}
		if _, twice := values[key]; twice {
			return nil, usagef("give each argument once", "the argument %q is given twice", key)
		}
		values[key] = value
	}
	return values, nil
}

// parsePair reads key=text or key:=json; the first "=" decides.
func parsePair(arg string) (key string, value any, err error) {
	key, text, ok := strings.Cut(arg, "=")
	isJSON := strings.HasSuffix(key, ":")
	key = strings.TrimSuffix(key, ":")
	switch {
	case arg == "-" || strings.HasPrefix(arg, "{"):
		return "", nil, usagef("give it alone", "%q cannot be mixed with other arguments", shorten(arg))
	case !ok:
		return "", nil, usagef(argsHint, "%q is not an argument", shorten(arg))
	case key == "":
		return "", nil, usagef(argsHint, "the argument %q has no name", shorten(arg))
	case !isJSON:
		return key, text, nil
	}
	if value, err = pyjson.Decode([]byte(text)); err != nil {
		return "", nil, usagef(fmt.Sprintf("write %s=%s if it is a text", key, shorten(text)),
			"the value of %q is not JSON: %v", key, err)
	}
	return key, value, nil
}

func readArgs(stdin io.Reader) (map[string]any, error) {
	text, err := io.ReadAll(stdin)
	if err != nil {
		return nil, fmt.Errorf("read the arguments from standard input: %w", err)
	}
	return parseObject("standard input", text)
}

func parseObject(where string, text []byte) (map[string]any, error) {
	v, err := pyjson.Decode(text)
	if err != nil {
		return nil, usagef(argsHint, "%s is not a JSON object: %v", where, err)
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil, usagef(argsHint, "%s is JSON, but not an object", where)
	}
	return object, nil
}

// maxShown is how much of a text an error shows.
const maxShown = 64

// shorten cuts a text for an error.
func shorten(s string) string {
	if len(s) <= maxShown {
		return s
	}
	return strings.ToValidUTF8(s[:maxShown], "") + "…"
}

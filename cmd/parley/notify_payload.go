// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/parleymq/parley/internal/pyjson"
)

// parsePayload reads the payload of a notification: arguments as of a method, or =text or :=json
// for one that is no object, or "-" for any JSON value on standard input.
func parsePayload(args []string, stdin io.Reader) (any, error) {
	if len(args) != 1 {
		return parseArgs(args, stdin)
	}
	switch arg := args[0]; {
	case arg == "-":
		text, err := io.ReadAll(stdin)
		if err != nil {
			return nil, fmt.Errorf("read the payload from standard input: %w", err)
		}
		return parseValue("standard input", text)
	case strings.HasPrefix(arg, ":="):
		return parseValue("the payload", []byte(arg[2:]))
	case strings.HasPrefix(arg, "="):
		return arg[1:], nil
	default:
		return parseArgs(args, stdin)
	}
}

func parseValue(where string, text []byte) (any, error) {
	v, err := pyjson.Decode(text)
	if err != nil {
		return nil, usagef("write any JSON value, or =text for a text", "%s is not JSON: %v", where, err)
	}
	return v, nil
}

// maxPayloadLine is the most bytes of a line of --lines: more cannot be sent.
const maxPayloadLine = 64 << 20

// payloadLine is a line of --lines, or why there are no more.
type payloadLine struct {
	payload any
	number  int
	err     error
}

// readPayloads reads lines until their end, the first that is wrong, or the end of ctx. A read that
// waits for input then is left to end with the process.
func readPayloads(ctx context.Context, r io.Reader) <-chan payloadLine {
	lines := make(chan payloadLine)
	go func() {
		defer close(lines)
		scanner := bufio.NewScanner(r)
		scanner.Buffer(nil, maxPayloadLine)
		number := 0
		pass := func(l payloadLine) bool {
			l.number = number
			select {
			case lines <- l:
				return l.err == nil
			case <-ctx.Done():
				return false
			}
		}
		for scanner.Scan() {
			number++
			text := bytes.TrimSpace(scanner.Bytes())
			if len(text) == 0 {
				continue
			}
			payload, err := parseValue(fmt.Sprintf("line %d of standard input", number), text)
			if !pass(payloadLine{payload: payload, err: err}) {
				return
			}
		}
		if err := scanner.Err(); err != nil {
			number++
			pass(payloadLine{err: fmt.Errorf("read line %d of standard input: %w", number, err)})
		}
	}()
	return lines
}

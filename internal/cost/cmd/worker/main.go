// SPDX-License-Identifier: Apache-2.0

// Command worker is the application whose cost is measured. The cost command starts it and speaks
// with it in JSON lines; by hand it is of no use.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/parleymq/parley/internal/cost"
)

func main() {
	if err := run(context.Background(), os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	if !lines.Scan() {
		return errors.New("no setup on standard input")
	}
	var s cost.Setup
	if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
		return err
	}
	answer := json.NewEncoder(out)
	a, started, err := start(ctx, s)
	if err != nil {
		started.Error = err.Error()
		return errors.Join(err, answer.Encode(started))
	}
	if err := answer.Encode(started); err != nil {
		return errors.Join(err, a.close())
	}
	return errors.Join(follow(ctx, a, lines, answer), a.close())
}

// follow does what the lines say until they end.
func follow(ctx context.Context, a *app, lines *bufio.Scanner, answer *json.Encoder) error {
	for lines.Scan() {
		var o cost.Order
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			return err
		}
		m, err := a.do(ctx, o)
		if err != nil {
			m.Error = err.Error()
		}
		if err := answer.Encode(m); err != nil {
			return err
		}
	}
	return lines.Err()
}

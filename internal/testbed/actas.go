// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// appVariable makes a test program act as an [App].
const appVariable = "PARLEY_TESTBED_APP"

// ActAsApp lets a test program that [StartApp] has started act as an application: act gets what
// the test set, and takes the test's orders until it is told to stop. It returns at once in a
// program that is none, and never in one that is. TestMain calls it first.
func ActAsApp[S any](act func(settings S, orders *Orders) error) {
	if os.Getenv(appVariable) == "" {
		return
	}
	if err := actAs(act, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func actAs[S any](act func(S, *Orders) error, in io.Reader, out io.Writer) error {
	o := &Orders{in: bufio.NewReader(in), out: json.NewEncoder(out)}
	var settings S
	if err := o.next(&settings); err != nil {
		return fmt.Errorf("read the settings: %w", err)
	}
	return act(settings, o)
}

// Orders are what a test tells an application to do.
type Orders struct {
	in  *bufio.Reader
	out *json.Encoder
}

func (o *Orders) next(into any) error {
	line, err := o.in.ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(line, into)
}

// Command is what an application can be told to do: it gets the argument as JSON, and what it
// returns becomes JSON.
type Command func(arg json.RawMessage) (any, error)

// Take makes a Command of a function with an argument.
func Take[A, R any](do func(A) (R, error)) Command {
	return func(raw json.RawMessage) (any, error) {
		var arg A
		if err := json.Unmarshal(raw, &arg); err != nil {
			return nil, err
		}
		return do(arg)
	}
}

// Say makes a Command of a function without one.
func Say[R any](do func() (R, error)) Command {
	return func(json.RawMessage) (any, error) { return do() }
}

// Do makes a Command of a function that has nothing to say.
func Do(do func() error) Command {
	return func(json.RawMessage) (any, error) { return nil, do() }
}

// Obey says that the application is ready, and follows orders, one after the other. It returns
// after the command "stop", with its error.
func (o *Orders) Obey(commands map[string]Command) error {
	if err := o.out.Encode(answer{}); err != nil {
		return err
	}
	for {
		var one order
		if err := o.next(&one); err != nil {
			return fmt.Errorf("nobody is left to say what to do: %w", err)
		}
		said, err := follow(commands, one)
		if err := o.out.Encode(reply(one, said, err)); err != nil {
			return err
		}
		if one.Do == "stop" {
			return err
		}
	}
}

func follow(commands map[string]Command, one order) (any, error) {
	do, ok := commands[one.Do]
	if !ok {
		return nil, errors.New("what is " + one.Do + "?")
	}
	return do(one.Arg)
}

func reply(one order, said any, err error) answer {
	a := answer{N: one.N}
	if err == nil {
		a.Said, err = json.Marshal(said)
	}
	if err != nil {
		a.Error = err.Error()
	}
	return a
}

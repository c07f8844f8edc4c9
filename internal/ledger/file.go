// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
)

// File is a ledger that is being written, by many goroutines.
type File struct{ file *os.File }

// Create opens a ledger for more lines.
func Create(name string) (*File, error) {
	file, err := appendTo(name)
	if err != nil {
		return nil, err
	}
	return &File{file}, nil
}

func appendTo(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
}

// Append writes a line, with its end, at once. An application that cannot write its ledger ends: what
// it did from then on nobody could judge.
func (f *File) Append(line []byte) {
	if _, err := f.file.Write(line); err != nil {
		giveUp(err)
	}
}

func giveUp(err error) {
	fmt.Fprintln(os.Stderr, "ledger:", err)
	os.Exit(1)
}

// Close closes it.
func (f *File) Close() error { return f.file.Close() }

// Each gives the whole lines of a ledger to take, without their ends. The last line may be cut off,
// while it is being written or in the ledger of one that was killed.
func Each(name string, take func(line []byte) error) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	for line := range bytes.Lines(text) {
		line, whole := bytes.CutSuffix(line, []byte("\n"))
		if !whole {
			return nil
		}
		if err := take(line); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// Line is one of the ledger of a client or server. Times are in nanoseconds of the machine's clock.
type Line struct {
	ID   string `json:"id"`
	At   int64  `json:"at"`
	Kind string `json:"kind,omitempty"` // of a request
	To   string `json:"to,omitempty"`   // the server it is for, if for one
	Done bool   `json:"done,omitempty"` // it came to its end
	Took int64  `json:"took,omitempty"`
	Code string `json:"code,omitempty"`
	Text string `json:"text,omitempty"`
}

// Read returns the lines of the ledger of a client or server.
func Read(name string) (lines []Line, err error) {
	err = Each(name, func(raw []byte) error {
		var l Line
		if err := json.Unmarshal(raw, &l); err != nil {
			return err
		}
		lines = append(lines, l)
		return nil
	})
	return lines, err
}

func (f *File) write(l Line) {
	text, err := json.Marshal(l)
	if err != nil {
		giveUp(err)
	}
	f.Append(append(text, '\n'))
}

// SPDX-License-Identifier: Apache-2.0

package notifyfaults

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/parleymq/parley/internal/ledger"
)

// The kinds of entries.
const (
	entrySent     = 'S' // is about to be sent
	entryAccepted = 'A' // was accepted
	entryFailed   = 'F' // was not, with the code
	entryHandled  = 'H' // was given to a handler
	entryRequeued = 'R' // which asks for it to come again
)

// number names a notification.
type number struct {
	publisher string
	n         int
}

func (n number) String() string { return n.publisher + " " + strconv.Itoa(n.n) }

// entry is a line of a ledger: kind, time, publisher, number, and a text.
type entry struct {
	kind byte
	at   int64 // in nanoseconds of the machine's clock
	number
	text string
}

func now() int64 { return time.Now().UnixNano() }

func (e entry) append(dst []byte) []byte {
	dst = append(dst, e.kind, ' ')
	dst = strconv.AppendInt(dst, e.at, 10)
	dst = append(append(append(dst, ' '), e.publisher...), ' ')
	dst = strconv.AppendInt(dst, int64(e.n), 10)
	dst = append(append(dst, ' '), strings.ReplaceAll(e.text, "\n", " ")...)
	return append(dst, '\n')
}

// names keeps one string for each publisher.
type names map[string]string

// parse reads a line without its end.
func (all names) parse(line []byte) (e entry, err error) {
	fields := bytes.SplitN(line, []byte(" "), 5)
	if len(fields) != 5 || len(fields[0]) != 1 {
		return e, fmt.Errorf("a line of a ledger is %q", line)
	}
	e.kind, e.text = fields[0][0], string(fields[4])
	name, known := all[string(fields[2])]
	if !known {
		name = string(fields[2])
		all[name] = name
	}
	e.publisher = name
	if e.at, err = strconv.ParseInt(string(fields[1]), 10, 64); err != nil {
		return e, err
	}
	e.n, err = strconv.Atoi(string(fields[3]))
	return e, err
}

// read returns the whole lines of a ledger.
func (all names) read(file string) (entries []entry, err error) {
	err = ledger.Each(file, func(line []byte) error {
		e, err := all.parse(line)
		if err == nil {
			entries = append(entries, e)
		}
		return err
	})
	return entries, err
}

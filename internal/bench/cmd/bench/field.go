// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/parleymq/parley/internal/bench"
	"github.com/parleymq/parley/internal/peertest"
)

const (
	wireRabbit = "rabbit"
	wireZMQ    = "zmq"
)

// field is everybody who takes part, and what they share.
type field struct {
	config
	worker string // the program
	setup  bench.Setup
	broker *peertest.RabbitMQ // nil where there is none
	dir    string             // private, of the discovery

	contenders []contender
}

// newField builds the worker, and starts the broker if the wire has one.
func newField(ctx context.Context, c config) (_ *field, err error) {
	if c.wire != wireRabbit && c.wire != wireZMQ {
		return nil, fmt.Errorf("-wire %q: want rabbit or zmq", c.wire)
	}
	if c.wire == wireRabbit && (c.url != "" || c.peers != "") {
		return nil, errors.New("-url and -peers need -wire zmq")
	}
	if c.notify && c.wire != wireRabbit {
		return nil, errors.New("-notify needs -wire rabbit")
	}
	f := &field{config: c, worker: filepath.Join(c.bin, "bench-worker")}
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	if err := buildWorker(ctx, f.worker); err != nil {
		return f, err
	}
	f.setup = bench.Setup{URL: c.url, DriverPath: []string{filepath.Join(c.bin, "drivers")}, Size: c.size}
	if c.wire == wireRabbit {
		if f.broker, err = peertest.StartRabbitMQ(ctx, nil); err != nil {
			return f, err
		}
		f.setup.URL = f.broker.URL("/")
		return f, nil
	}
	if f.dir, err = os.MkdirTemp("", "parley-bench"); err != nil {
		return f, err
	}
	return f, nil
}

// url is Parley's: the one that was asked for, or peers find each other in a directory of
// that name.
func (f *field) url(name string) (string, error) {
	if f.setup.URL != "" {
		return f.setup.URL, nil
	}
	dir := filepath.Join(f.dir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	return "zmq://" + dir, nil
}

func (f *field) close() {
	for _, k := range f.contenders {
		if err := k.close(); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", k.name(), err)
		}
	}
	if f.broker != nil {
		_ = f.broker.Close()
	}
	if f.dir != "" {
		_ = os.RemoveAll(f.dir) // it is in the directory for temporary files
	}
}

// brokerPIDs is whose processor time is the broker's.
func (f *field) brokerPIDs() []int {
	if f.broker == nil {
		return nil
	}
	return []int{f.broker.PID()}
}

// start starts all contenders, in the order in which they alternate.
func (f *field) start(ctx context.Context) error {
	byHand := "raw"
	if f.wire == wireZMQ {
		byHand = "zmq4"
	}
	for _, title := range []string{byHand, "parley"} {
		if f.wants(title) {
			if err := f.pair(title, title, ""); err != nil {
				return err
			}
		}
	}
	if f.options != "" {
		if err := f.pair("parley?"+f.options, "parley", "?"+f.options); err != nil {
			return err
		}
	}
	if !f.python {
		return nil
	}
	if f.wire == wireZMQ {
		return f.pyzmq()
	}
	if f.only != "" {
		return nil
	}
	for _, release := range []string{peertest.OsloNewest, peertest.OsloDebian} {
		p, err := startPython(ctx, release, f.setup.URL, f.size)
		if err != nil {
			return err
		}
		f.contenders = append(f.contenders, p)
	}
	return nil
}

// pair adds two workers of a kind: raw, zmq4 or parley.
func (f *field) pair(title, kind, options string) error {
	url, err := f.url(kind)
	if err != nil {
		return err
	}
	s := f.setup
	s.URL = url + options
	p, err := startPair(title, kind, []string{f.worker}, s)
	if err != nil {
		return err
	}
	f.contenders = append(f.contenders, p)
	return nil
}

// pyzmq adds the workers in Python.
func (f *field) pyzmq() error {
	if !f.wants("pyzmq") {
		return nil
	}
	python, err := peertest.FindPython(peertest.OsloNewest)
	if err != nil {
		return err
	}
	p, err := startPair("pyzmq", "pyzmq", []string{python.Path, "-c", bench.ZMQEcho}, f.setup)
	if err != nil {
		return err
	}
	f.contenders = append(f.contenders, p)
	return nil
}

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
	wireQpid   = "qpid"
)

// byHand are the titles of the hand-written contenders.
func byHand(wire string) string {
	switch wire {
	case wireZMQ:
		return "zmq4"
	case wireQpid:
		return "go-amqp"
	default:
		return "raw"
	}
}

// field is everybody who takes part, and what they share.
type field struct {
	config
	worker string // the program
	setup  bench.Setup
	broker *peertest.RabbitMQ // nil where there is none
	dir    string             // private, of the discovery

	brokerJ *peertest.BrokerJ // nil where there is none

	contenders []contender
}

// newField builds the worker, and starts the broker if the wire has one.
func newField(ctx context.Context, c config) (_ *field, err error) {
	if c.wire != wireRabbit && c.wire != wireZMQ && c.wire != wireQpid {
		return nil, fmt.Errorf("-wire %q: want rabbit, zmq or qpid", c.wire)
	}
	if c.wire != wireZMQ && (c.url != "" || c.peers != "") {
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
	return f, f.startBroker(ctx)
}

// startBroker starts the broker of the wire, or makes the directory by which peers find each other.
func (f *field) startBroker(ctx context.Context) (err error) {
	switch f.wire {
	case wireRabbit:
		if f.broker, err = peertest.StartRabbitMQ(ctx, nil); err == nil {
			f.setup.URL = f.broker.URL("/")
		}
	case wireQpid:
		// It compiles as a broker that stays does, and has room for casts that pile up.
		if f.brokerJ, err = peertest.StartBrokerJ(ctx, &peertest.BrokerJOptions{
			Java: []string{"-Xms256m", "-Xmx1g", "-XX:MaxDirectMemorySize=2g", "-XX:TieredStopAtLevel=4"},
		}); err == nil {
			f.setup.URL = f.brokerJ.URL("")
		}
	default:
		f.dir, err = os.MkdirTemp("", "parley-bench")
	}
	return err
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
	if f.brokerJ != nil {
		_ = f.brokerJ.Close()
	}
	if f.dir != "" {
		_ = os.RemoveAll(f.dir) // it is in the directory for temporary files
	}
}

// brokerPIDs is whose processor time is the broker's.
func (f *field) brokerPIDs() []int {
	switch {
	case f.broker != nil:
		return []int{f.broker.PID()}
	case f.brokerJ != nil:
		return []int{f.brokerJ.PID()}
	default:
		return nil
	}
}

// start starts all contenders, in the order in which they alternate.
func (f *field) start(ctx context.Context) error {
	for _, title := range []string{byHand(f.wire), "parley"} {
		if f.wants(title) {
			if err := f.pair(title, title, ""); err != nil {
				return err
			}
		}
	}
	if err := f.withOptions(); err != nil {
		return err
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
	for _, p := range f.pythons() {
		p, err := startPython(ctx, p, f.size)
		if err != nil {
			return err
		}
		f.contenders = append(f.contenders, p)
	}
	return nil
}

// withOptions adds Parley with the options of the command line, and the hand-written contender that
// does the same, if there is one.
func (f *field) withOptions() error {
	if f.options == "" {
		return nil
	}
	if f.wire == wireQpid && f.options == bench.ReliableCasts {
		if err := f.pair("go-amqp?"+f.options, "go-amqp", "?"+f.options); err != nil {
			return err
		}
	}
	return f.pair("parley?"+f.options, "parley", "?"+f.options)
}

// pythons are the contenders in Python that have the wire.
func (f *field) pythons() []pythonSetup {
	if f.wire == wireQpid {
		return []pythonSetup{{release: peertest.OsloAMQP1, url: f.brokerJ.PythonURL(""), conf: peertest.AMQP1Conf()}}
	}
	return []pythonSetup{{release: peertest.OsloNewest, url: f.setup.URL}, {release: peertest.OsloDebian, url: f.setup.URL}}
}

// pair adds two workers of a kind: raw, zmq4, go-amqp or parley.
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

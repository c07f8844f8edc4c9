// SPDX-License-Identifier: Apache-2.0

// Command bench runs the comparison of package bench and prints it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/parleymq/parley/internal/bench"
)

// config is the command line.
type config struct {
	bin     string
	wire    string
	url     string
	size    int
	seconds float64
	rounds  int
	json    string
	python  bool
	loads   string
	casts   string
	only    string
	options string
	peers   string
	notify  bool
	drain   int
	backlog int
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var c config
	flag.StringVar(&c.bin, "bin", "bin", "directory with the built drivers (drivers/) and for the worker")
	flag.StringVar(&c.wire, "wire", "rabbit", "rabbit, zmq against zmq4 and pyzmq, or qpid against go-amqp and the last Python with AMQP 1.0")
	flag.StringVar(&c.url, "url", "", "Parley's URL with -wire zmq; zmq:// and a private directory when empty")
	flag.IntVar(&c.size, "size", 1024, "bytes of payload, both ways")
	flag.Float64Var(&c.seconds, "seconds", 3, "seconds of each measurement")
	flag.IntVar(&c.rounds, "rounds", 3, "how often the contenders alternate")
	flag.StringVar(&c.json, "json", "", "write all measurements to this file")
	flag.BoolVar(&c.python, "python", true, "measure the contenders in Python too")
	flag.StringVar(&c.loads, "in-flight", "1,16,128", "calls in flight, a list")
	flag.StringVar(&c.casts, "casts", "", "casts in flight, a list; with -wire zmq or qpid")
	flag.StringVar(&c.only, "only", "", "a list of contenders, for a profiler: raw, zmq4 or go-amqp, parley")
	flag.StringVar(&c.options, "options", "", "measure Parley with these options of the URL too, such as a=1&b=2")
	flag.StringVar(&c.peers, "peers", "", "compare numbers of servers in one view instead, such as 2,200; with -wire zmq")
	flag.BoolVar(&c.notify, "notify", false, "compare notifications instead; with -wire rabbit")
	flag.IntVar(&c.drain, "drain", 30_000, "how many notifications a listener is given, with -notify")
	flag.IntVar(&c.backlog, "backlog", 1_000_000, "how many notifications the one listener is behind whose memory is looked at, with -notify")
	flag.Parse()
	if err := run(ctx, c); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

// numbers reads a list of them.
func numbers(name, list string) ([]int, error) {
	var all []int
	for text := range strings.SplitSeq(list, ",") {
		if list == "" {
			break
		}
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < 1 {
			return nil, fmt.Errorf("-%s %q: want numbers such as 1,16,128", name, list)
		}
		all = append(all, n)
	}
	return all, nil
}

// measurements are the loads of the command line.
func (c config) measurements() ([]bench.Load, error) {
	calls, err := numbers("in-flight", c.loads)
	if err != nil {
		return nil, err
	}
	casts, err := numbers("casts", c.casts)
	if err != nil {
		return nil, err
	}
	if len(casts) > 0 && c.wire == wireRabbit {
		return nil, errors.New("-casts needs -wire zmq or qpid")
	}
	var loads []bench.Load
	for _, n := range calls {
		loads = append(loads, bench.Load{InFlight: n, Seconds: c.seconds})
	}
	for _, n := range casts {
		loads = append(loads, bench.Load{InFlight: n, Seconds: c.seconds, Cast: true})
	}
	return loads, nil
}

// wants tells whether a contender is to be measured.
func (c config) wants(title string) bool {
	return c.only == "" || slices.Contains(strings.Split(c.only, ","), title)
}

func run(ctx context.Context, c config) error {
	loads, err := c.measurements()
	if err != nil {
		return err
	}
	f, err := newField(ctx, c)
	if err != nil {
		return err
	}
	defer f.close()
	switch {
	case c.peers != "":
		return comparePeers(ctx, c, f, loads)
	case c.notify:
		return compareNotifications(ctx, c, f)
	}
	if err := f.start(ctx); err != nil {
		return err
	}
	fmt.Printf("rpc over %s, %d bytes both ways, %d rounds of %g s each\n", c.wire, c.size, c.rounds, c.seconds)
	var report bench.Report
	for _, load := range loads {
		if err := compare(ctx, c, f, load, &report); err != nil {
			return err
		}
		report.Print(os.Stdout, load)
	}
	return write(c.json, report)
}

// takesPart tells whether a contender has anything to say about a load: those in Python do not cast,
// and how casts are sent makes no difference to calls.
func takesPart(k contender, load bench.Load) bool {
	if load.Cast {
		_, python := k.(*pythonPair)
		return !python
	}
	return !strings.HasSuffix(k.name(), "?"+bench.ReliableCasts)
}

// compare lets the contenders alternate.
func compare(ctx context.Context, c config, f *field, load bench.Load, report *bench.Report) error {
	for round := range c.rounds + 1 {
		for _, k := range f.contenders {
			if !takesPart(k, load) {
				continue
			}
			l := load
			if round == 0 {
				l.Seconds = min(1, c.seconds) // warm up: connections, JIT of the broker
			}
			m, err := measure(ctx, k, l, f.brokerPIDs())
			if err != nil {
				return fmt.Errorf("%s: %w", k.name(), err)
			}
			if round > 0 {
				report.Add(m)
			}
		}
	}
	return nil
}

// write keeps all figures in a file, if there is to be one.
func write(path string, report any) error {
	if path == "" {
		return nil
	}
	text, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o600)
}

// measure runs one load and counts the processor time of everyone involved.
func measure(ctx context.Context, k contender, load bench.Load, broker []int) (bench.Measurement, error) {
	m := bench.Measurement{Contender: k.name(), Load: load}
	own, brokerBefore, err := cpuNow(k.pids(), broker)
	if err != nil {
		return m, err
	}
	if m.Result, err = k.run(ctx, load); err != nil {
		return m, err
	}
	ownAfter, brokerAfter, err := cpuNow(k.pids(), broker)
	if err != nil {
		return m, err
	}
	m.CPU, m.BrokerCPU = (ownAfter - own).Seconds(), (brokerAfter - brokerBefore).Seconds()
	if m.Result.Calls == 0 {
		return m, errors.New("nothing succeeded: " + m.Result.Error)
	}
	return m, nil
}

func cpuNow(own, broker []int) (mine, theirs time.Duration, err error) {
	if mine, err = bench.TreeCPU(own...); err != nil {
		return 0, 0, err
	}
	theirs, err = bench.TreeCPU(broker...)
	return mine, theirs, err
}

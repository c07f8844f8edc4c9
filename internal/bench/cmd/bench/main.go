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
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/parleymq/parley/internal/bench"
	"github.com/parleymq/parley/internal/peertest"
)

// config is the command line.
type config struct {
	bin     string
	size    int
	seconds float64
	rounds  int
	json    string
	python  bool
	loads   string
	only    string
	options string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var c config
	flag.StringVar(&c.bin, "bin", "bin", "directory with the built drivers (drivers/) and for the worker")
	flag.IntVar(&c.size, "size", 1024, "bytes of payload, both ways")
	flag.Float64Var(&c.seconds, "seconds", 3, "seconds of each measurement")
	flag.IntVar(&c.rounds, "rounds", 3, "how often the contenders alternate")
	flag.StringVar(&c.json, "json", "", "write all measurements to this file")
	flag.BoolVar(&c.python, "python", true, "measure Python oslo.messaging too")
	flag.StringVar(&c.loads, "in-flight", "1,16,128", "calls in flight, a list")
	flag.StringVar(&c.only, "only", "", "one contender alone, for a profiler: raw or parley")
	flag.StringVar(&c.options, "options", "", "measure Parley with these options of the URL too, such as a=1&b=2")
	flag.Parse()
	if err := run(ctx, c); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

// inFlight reads the list of loads.
func (c config) inFlight() ([]int, error) {
	var loads []int
	for text := range strings.SplitSeq(c.loads, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < 1 {
			return nil, fmt.Errorf("-in-flight %q: want numbers such as 1,16,128", c.loads)
		}
		loads = append(loads, n)
	}
	return loads, nil
}

func run(ctx context.Context, c config) error {
	loads, err := c.inFlight()
	if err != nil {
		return err
	}
	fmt.Printf("rpc calls, %d bytes both ways, %d rounds of %g s each\n", c.size, c.rounds, c.seconds)
	broker, err := peertest.StartRabbitMQ(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = broker.Close() }()
	contenders, err := start(ctx, c, broker)
	defer func() {
		for _, k := range contenders {
			if err := k.close(); err != nil {
				fmt.Fprintln(os.Stderr, "bench:", k.name(), err)
			}
		}
	}()
	if err != nil {
		return err
	}
	var report bench.Report
	for _, inFlight := range loads {
		for round := range c.rounds + 1 {
			for _, k := range contenders {
				load := bench.Load{InFlight: inFlight, Seconds: c.seconds}
				if round == 0 {
					load.Seconds = min(1, c.seconds) // warm up: connections, JIT of the broker
				}
				m, err := measure(ctx, k, load, broker.PID())
				if err != nil {
					return fmt.Errorf("%s: %w", k.name(), err)
				}
				if round > 0 {
					report.Add(m)
				}
			}
		}
		report.Print(os.Stdout, inFlight)
	}
	if c.json == "" {
		return nil
	}
	text, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(c.json, append(text, '\n'), 0o600)
}

// start builds the worker and starts all contenders.
func start(ctx context.Context, c config, broker *peertest.RabbitMQ) ([]contender, error) {
	path := filepath.Join(c.bin, "bench-worker")
	if err := buildWorker(ctx, path); err != nil {
		return nil, err
	}
	setup := bench.Setup{URL: broker.URL("/"), DriverPath: []string{filepath.Join(c.bin, "drivers")}, Size: c.size}
	var all []contender
	for _, title := range []string{"raw", "parley"} {
		if c.only != "" && c.only != title {
			continue
		}
		p, err := startPair(title, title, path, setup)
		if err != nil {
			return all, err
		}
		all = append(all, p)
	}
	if c.options != "" {
		with := setup
		with.URL += "?" + c.options
		p, err := startPair("parley?"+c.options, "parley", path, with)
		if err != nil {
			return all, err
		}
		all = append(all, p)
	}
	if !c.python || c.only != "" {
		return all, nil
	}
	for _, release := range []string{"18.3.1", "14.0.3"} {
		p, err := startPython(ctx, release, broker.URL("/"), c.size)
		if err != nil {
			return all, err
		}
		all = append(all, p)
	}
	return all, nil
}

// measure runs one load and counts the processor time of everyone involved.
func measure(ctx context.Context, k contender, load bench.Load, broker int) (bench.Measurement, error) {
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
		return m, errors.New("no call succeeded: " + m.Result.Error)
	}
	return m, nil
}

func cpuNow(own []int, broker int) (mine, theirs time.Duration, err error) {
	if mine, err = bench.TreeCPU(own...); err != nil {
		return 0, 0, err
	}
	theirs, err = bench.TreeCPU(broker)
	return mine, theirs, err
}

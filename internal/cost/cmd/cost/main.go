// SPDX-License-Identifier: Apache-2.0

// Command cost measures what package cost says and prints it.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// config is the command line.
type config struct {
	drivers   string
	json      string
	runs      int
	listeners int
	waiting   int
	rabbit    bool
	boundary  bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var c config
	flag.StringVar(&c.drivers, "drivers", "bin/drivers", "directory with the built drivers")
	flag.StringVar(&c.json, "json", "", "write all measurements to this file")
	flag.IntVar(&c.runs, "runs", 15, "starts of each kind of transport")
	flag.IntVar(&c.listeners, "listeners", 1000, "servers on one transport")
	flag.IntVar(&c.waiting, "waiting", 10000, "calls that wait")
	flag.BoolVar(&c.rabbit, "rabbit", true, "measure the rabbit driver too, on a private RabbitMQ")
	flag.BoolVar(&c.boundary, "boundary", true, "run the benchmark of the boundary alone")
	flag.Parse()
	if err := run(ctx, c, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "cost:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

func run(ctx context.Context, c config, out io.Writer) error {
	if c.runs < 1 || c.listeners < 20 || c.waiting < 20 {
		return fmt.Errorf("-runs %d, -listeners %d, -waiting %d: want at least 1, 20 and 20", c.runs, c.listeners, c.waiting)
	}
	b, err := newBench(ctx, c)
	if err != nil {
		return err
	}
	defer b.close()
	if err := b.measure(ctx); err != nil {
		return err
	}
	if c.boundary {
		if b.report.Boundary, err = boundary(ctx); err != nil {
			return err
		}
	}
	if err := b.report.Print(out); err != nil {
		return err
	}
	if c.json == "" {
		return nil
	}
	text, err := json.MarshalIndent(b.report, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(c.json, append(text, '\n'), 0o600)
}

// SPDX-License-Identifier: Apache-2.0

// Command chaos runs package chaos and prints its report. It exits with 1 when a promise was
// broken.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/parleymq/parley/internal/chaos"
	"github.com/parleymq/parley/internal/testbed"
)

// config is the command line.
type config struct {
	opts     chaos.Options
	json     string
	log      string
	only     string
	sabotage string
}

var errBroken = errors.New("a promise was broken")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var c config
	flag.DurationVar(&c.opts.Duration, "time", 10*time.Minute, "how long faults are made")
	flag.IntVar(&c.opts.PerKind, "faults", 0, "faults of each kind, half of them at each end; 0 is 104 in 10 minutes")
	flag.Uint64Var(&c.opts.Seed, "seed", 0, "the seed of the plan, to repeat a run; 0 draws one")
	flag.IntVar(&c.opts.Callers, "callers", 0, "callers of each end")
	flag.IntVar(&c.opts.Senders, "senders", 0, "senders of casts of each end")
	flag.DurationVar(&c.opts.HeartbeatTimeout, "heartbeat-timeout", time.Second, "how long a driver may be silent")
	flag.BoolVar(&c.opts.Strict, "strict", false, "a call that two servers ran after a lost acknowledgement breaks a promise too")
	flag.BoolVar(&c.opts.ConfirmAcks, "confirm-acks", false, "the drivers prove their acknowledgements (rabbit_confirm_acks)")
	flag.StringVar(&c.json, "json", "", "write the report to this file too")
	flag.StringVar(&c.log, "log", "", "write the log of hosts, drivers and faults to this file")
	flag.StringVar(&c.only, "only", "", "kinds of fault to make, a list of beginnings of their names, such as kill,hot")
	flag.StringVar(&c.sabotage, "sabotage", "", "break promises on purpose, a list of "+strings.Join(chaos.Sabotages(), ", "))
	flag.Parse()
	if err := run(ctx, c); err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

func run(ctx context.Context, c config) (err error) {
	if c.opts.Only, err = kinds(c.only); err != nil {
		return err
	}
	if c.sabotage != "" {
		c.opts.Sabotage = strings.Split(c.sabotage, ",")
	}
	if err := testbed.EndQuickly(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "chaos-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // the driver that was built here
	c.opts.Driver = filepath.Join(dir, "driver")
	if err := testbed.Build(ctx, c.opts.Driver, "plugins/rabbit"); err != nil {
		return err
	}
	if c.log != "" {
		file, err := os.Create(c.log)
		if err != nil {
			return err
		}
		defer func() { _ = file.Close() }()
		c.opts.Logger = slog.New(slog.NewTextHandler(file, nil))
	}
	report, err := chaos.Run(ctx, c.opts)
	if err != nil {
		return err
	}
	if err := write(report, c.json); err != nil {
		return err
	}
	if len(report.Broken) > 0 {
		return errBroken
	}
	return nil
}

// kinds reads a list of beginnings of kinds.
func kinds(list string) ([]chaos.Kind, error) {
	var chosen []chaos.Kind
	if list == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(list, ",") {
		found := false
		for _, kind := range chaos.Kinds() {
			if strings.HasPrefix(string(kind), part) {
				chosen, found = append(chosen, kind), true
			}
		}
		if !found {
			return nil, fmt.Errorf("-only: no kind of fault begins with %q; there are %v", part, chaos.Kinds())
		}
	}
	return chosen, nil
}

func write(report *chaos.Report, file string) error {
	if err := report.Write(os.Stdout); err != nil || file == "" {
		return err
	}
	text, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o600)
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/parleymq/parley/internal/bench"
	"github.com/parleymq/parley/internal/cost"
	"github.com/parleymq/parley/internal/procfs"
)

const (
	// backlogSize is the payload of a backlog, in bytes: it is about their number.
	backlogSize = 200
	sampleEvery = 250 * time.Millisecond
	// settled is the part of the samples that is left out at the start, while heaps grow to what
	// they need.
	settled = 10
)

// backlog lets a listener start so many notifications behind, and looks at its memory.
func (n *notifications) backlog(ctx context.Context, count int) (*backlog, error) {
	// The broker's memory is not what is looked at: it keeps them on disk.
	if _, err := n.broker.Ctl(ctx, "set_policy", "-p", n.vhost, "lazy", "^bench", `{"queue-mode":"lazy"}`, "--apply-to", "queues"); err != nil {
		return nil, err
	}
	n.setup.Size = backlogSize
	filler, err := startSolo("filler", []string{n.worker}, "raw-notifier", n.setup)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(n.fill(ctx, filler, count), filler.close()); err != nil {
		return nil, err
	}
	listener, err := n.add("parley", []string{n.worker}, "parley-listener")
	if err != nil {
		return nil, err
	}
	b := &backlog{Count: count}
	first, err := sampleOf(listener, time.Now())
	if err != nil {
		return nil, err
	}
	sampled, stop := make(chan error, 1), make(chan struct{})
	go func() { sampled <- b.watch(listener, stop) }() // ended below
	r, err := listener.run(ctx, bench.Load{Count: count})
	close(stop)
	if err = errors.Join(err, <-sampled); err != nil {
		return nil, err
	}
	if r.Calls != count {
		return nil, fmt.Errorf("%d of %d were handled: %s", r.Calls, count, r.Error)
	}
	b.Seconds = r.Seconds
	fmt.Printf("\na listener that starts %d notifications behind: handled in %.1f s, %.0f/s\n", count, r.Seconds, r.PerSecond())
	fmt.Printf("PSS in MiB, listening to nothing yet: application %.1f, driver %.1f\n", mebi(first.App), mebi(first.Driver))
	b.print("application", func(s sample) int64 { return s.App })
	b.print("driver", func(s sample) int64 { return s.Driver })
	return b, nil
}

// watch samples until stop is closed.
func (b *backlog) watch(l *solo, stop <-chan struct{}) error {
	begin := time.Now()
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-stop:
			return nil
		}
		s, err := sampleOf(l, begin)
		if err != nil {
			return err
		}
		b.Samples = append(b.Samples, s)
	}
}

// sampleOf looks at a worker and its driver.
func sampleOf(l *solo, begin time.Time) (sample, error) {
	own := l.cmd.Process.Pid
	app, err := cost.UsageOf(own)
	s := sample{After: time.Since(begin).Seconds(), App: app.PSS}
	for pid, stat := range procfs.All() {
		if stat.Parent == own && isDriver(pid) {
			driver, driverErr := cost.UsageOf(pid)
			err, s.Driver = errors.Join(err, driverErr), driver.PSS
		}
	}
	return s, err
}

// print tells whether memory grew: the median of the first third against that of the last.
func (b *backlog) print(name string, of func(sample) int64) {
	kept := b.Samples[len(b.Samples)/settled:]
	all := make([]int64, 0, len(kept))
	for _, s := range kept {
		all = append(all, of(s))
	}
	if len(all) < 3 {
		fmt.Printf("  %s: too quick to be looked at\n", name)
		return
	}
	third := len(all) / 3
	first, last := slices.Sorted(slices.Values(all[:third])), slices.Sorted(slices.Values(all[len(all)-third:]))
	fmt.Printf("  %-12s first third %.1f, last third %.1f (medians), least %.1f, most %.1f, of %d samples\n", name,
		mebi(first[third/2]), mebi(last[third/2]), mebi(slices.Min(all)), mebi(slices.Max(all)), len(all))
}

func mebi(bytes int64) float64 { return float64(bytes) / (1 << 20) }

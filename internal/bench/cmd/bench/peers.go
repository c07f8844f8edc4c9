// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/parleymq/parley/internal/bench"
	"github.com/parleymq/parley/internal/cost"
	"github.com/parleymq/parley/internal/procfs"
)

const (
	fewServers      = 2
	serverProcesses = 4               // share the servers, if there are that many
	idleTime        = 4 * time.Second // in which idle processes are watched
)

// crowd is one client and many servers in one view.
type crowd struct {
	title   string
	few     string // the topic that two of the servers listen to
	servers []*worker
	client  *worker
}

// comparePeers alternates between numbers of servers. Each crowd is alone while it is
// measured: idle peers cost something too.
func comparePeers(ctx context.Context, c config, f *field, loads []bench.Load) error {
	sizes, err := numbers("peers", c.peers)
	if err != nil {
		return err
	}
	fmt.Printf("calls from one client to servers in one view, %d bytes both ways, %d rounds of %g s each\n", c.size, c.rounds, c.seconds)
	var report peersReport
	for round := range c.rounds {
		for _, n := range sizes {
			if err := report.round(ctx, f, n, round, loads); err != nil {
				return fmt.Errorf("%d servers: %w", n, err)
			}
		}
	}
	for _, load := range loads {
		report.print(load)
	}
	report.printMemory(len(sizes))
	return write(c.json, report)
}

// peersReport is what was found, in the order in which it was.
type peersReport struct {
	Measurements []peersMeasurement `json:"measurements"`
	Memory       []peersMemory      `json:"memory"`
}

type peersMeasurement struct {
	crowdLoad
	bench.Measurement
}

// crowdLoad tells the rows of a table apart.
type crowdLoad struct {
	Servers int  `json:"servers"` // in the view
	Few     bool `json:"few"`     // two of them are called, and not all
}

// peersMemory is of the drivers, after the load, in bytes.
type peersMemory struct {
	Servers     int        `json:"servers"`
	AtServers   cost.Usage `json:"at_servers"` // all their drivers together
	Processes   int        `json:"processes"`  // how many those are
	AtTheClient cost.Usage `json:"at_the_client"`
	Started     float64    `json:"started_s"` // seconds until all listened
	Idle        float64    `json:"idle_cpus"` // processors that all processes take while nobody calls
}

// round starts a crowd, measures it and ends it.
func (r *peersReport) round(ctx context.Context, f *field, n, round int, loads []bench.Load) (err error) {
	begin := time.Now()
	w, err := f.crowd(n, round)
	if err != nil {
		return err
	}
	started := time.Since(begin)
	defer func() { err = errors.Join(err, w.close()) }()
	warm := bench.Load{InFlight: 128, Seconds: min(2, f.seconds)} // every link is dialled, every server is asked
	if _, err := measure(ctx, w, warm, nil); err != nil {
		return err
	}
	for _, load := range loads {
		if err := r.measure(ctx, w, crowdLoad{Servers: n}, load); err != nil {
			return err
		}
		if n <= fewServers {
			continue
		}
		load.Topic = w.few
		if err := r.measure(ctx, w, crowdLoad{Servers: n, Few: true}, load); err != nil {
			return err
		}
	}
	memory, err := w.memory(n)
	if err != nil {
		return err
	}
	memory.Started = started.Seconds()
	memory.Idle, err = w.idle(ctx)
	r.Memory = append(r.Memory, memory)
	return err
}

func (r *peersReport) measure(ctx context.Context, w *crowd, what crowdLoad, load bench.Load) error {
	m, err := measure(ctx, w, load, nil)
	m.Load.Topic = "" // it is of this round
	r.Measurements = append(r.Measurements, peersMeasurement{crowdLoad: what, Measurement: m})
	return err
}

// crowd starts n servers in several processes, and a client.
func (f *field) crowd(n, round int) (_ *crowd, err error) {
	w := &crowd{title: fmt.Sprintf("%d servers", n)}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	s := f.setup
	if s.URL, err = f.url(fmt.Sprintf("peers-%d-%d", n, round)); err != nil {
		return w, err
	}
	s.Topic = fmt.Sprintf("bench_peers_%d_%d", n, round)
	w.few = s.Topic + "_few"
	processes := min(n, serverProcesses)
	for i := range processes {
		s.Role, s.Server = "parley-server", fmt.Sprintf("p%d", i)
		s.Also = ""
		if i < fewServers {
			s.Also = w.few
		}
		s.Servers = n/processes + min(1, max(0, n%processes-i)) // the first ones take what is left over
		server, err := startWorker([]string{f.worker}, s)
		if err != nil {
			return w, err
		}
		w.servers = append(w.servers, server)
	}
	s.Role, s.Servers, s.Also = "parley-client", 0, ""
	w.client, err = startWorker([]string{f.worker}, s)
	return w, err
}

func (w *crowd) name() string { return w.title }

func (w *crowd) run(_ context.Context, load bench.Load) (bench.Result, error) {
	var r bench.Result
	err := w.client.ask(load, &r)
	return r, err
}

func (w *crowd) pids() []int {
	pids := make([]int, 0, 1+len(w.servers))
	pids = append(pids, w.client.cmd.Process.Pid)
	for _, s := range w.servers {
		pids = append(pids, s.cmd.Process.Pid)
	}
	return pids
}

func (w *crowd) close() error {
	var errs []error
	for _, one := range append([]*worker{w.client}, w.servers...) {
		if one != nil {
			errs = append(errs, one.close())
		}
	}
	return errors.Join(errs...)
}

// isDriver tells a driver from the guards that see to what it leaves behind.
func isDriver(pid int) bool {
	program, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "exe"))
	return err == nil && strings.HasPrefix(filepath.Base(program), "parley-driver-")
}

// idle is what all processes together take while nobody calls, in processors.
func (w *crowd) idle(ctx context.Context) (float64, error) {
	before, err := bench.TreeCPU(w.pids()...)
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	select {
	case <-time.After(idleTime):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	after, err := bench.TreeCPU(w.pids()...)
	return (after - before).Seconds() / time.Since(begin).Seconds(), err
}

// memory looks at the drivers: the children of the workers.
func (w *crowd) memory(n int) (peersMemory, error) {
	m := peersMemory{Servers: n}
	var errs []error
	for pid, stat := range procfs.All() {
		i := slices.Index(w.pids(), stat.Parent)
		if i < 0 || !isDriver(pid) {
			continue
		}
		u, err := cost.UsageOf(pid)
		errs = append(errs, err)
		if i == 0 {
			m.AtTheClient = m.AtTheClient.Plus(u)
		} else {
			m.AtServers, m.Processes = m.AtServers.Plus(u), m.Processes+1
		}
	}
	return m, errors.Join(errs...)
}

// print writes the table of one load. The ratios are those of the rounds, to the first number
// of servers.
func (r *peersReport) print(load bench.Load) {
	fmt.Printf("\n%d in flight\n", load.InFlight)
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	defer t.Flush() //nolint:errcheck // standard output
	_, _ = fmt.Fprintln(t, "servers\tcalled\tcalls/s\tp50 us\tp99 us\tCPU s/1000\terrors\trate, to the first\tleast\tmost\t")
	rows := r.rows()
	first := r.of(rows[0], load)
	for _, row := range rows {
		ms := r.of(row, load)
		asked, least, most, failed := spread(ms)
		_, _ = fmt.Fprintf(t, "%d\t%d\t%.0f\t%.0f\t%.0f\t%.3f\t%d\t%s\t%d\t%d\t\n", row.Servers, asked,
			bench.Median(ms, bench.Rate), bench.Median(ms, bench.P50), bench.Median(ms, bench.P99), bench.Median(ms, bench.CPUPerThousand),
			failed, bench.Ratios(ms, first, bench.Rate), least, most)
	}
}

// spread tells how many servers answered in every round, the fewest and the most answers of
// one of them in one round, and how many calls failed.
func spread(ms []bench.Measurement) (asked, least, most, failed int) {
	for i, m := range ms {
		if i == 0 || len(m.Result.By) < asked {
			asked = len(m.Result.By)
		}
		for _, n := range m.Result.By {
			if least == 0 || n < least {
				least = n
			}
			most = max(most, n)
		}
		failed += m.Result.Errors
	}
	return asked, least, most, failed
}

func (r *peersReport) rows() []crowdLoad {
	var rows []crowdLoad
	for _, m := range r.Measurements {
		if !slices.Contains(rows, m.crowdLoad) {
			rows = append(rows, m.crowdLoad)
		}
	}
	return rows
}

func (r *peersReport) of(row crowdLoad, load bench.Load) []bench.Measurement {
	var all []bench.Measurement
	for _, m := range r.Measurements {
		if m.crowdLoad == row && m.Load.Is(load) {
			all = append(all, m.Measurement)
		}
	}
	return all
}

// printMemory writes what the drivers of the last round take, each with its peers linked.
func (r *peersReport) printMemory(sizes int) {
	fmt.Printf("\nmemory and descriptors of the drivers, after the load of the last round\n")
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	defer t.Flush() //nolint:errcheck // standard output
	_, _ = fmt.Fprintln(t, "servers\ttheir drivers\tPSS MiB\tKiB a server\tfds\tthe client's PSS MiB\tfds\tKiB a further peer\tstarted in s\tidle CPUs\t")
	last := r.Memory[len(r.Memory)-sizes:]
	for i, m := range last {
		further := "-"
		if more := m.Servers - last[0].Servers; i > 0 && more > 0 {
			further = fmt.Sprintf("%.0f", float64(m.AtTheClient.PSS-last[0].AtTheClient.PSS)/float64(more)/1024)
		}
		_, _ = fmt.Fprintf(t, "%d\t%d\t%.1f\t%.0f\t%d\t%.1f\t%d\t%s\t%.1f\t%.2f\t\n", m.Servers, m.Processes,
			float64(m.AtServers.PSS)/(1<<20), float64(m.AtServers.PSS)/float64(m.Servers)/1024, m.AtServers.Descriptors,
			float64(m.AtTheClient.PSS)/(1<<20), m.AtTheClient.Descriptors, further, m.Started, m.Idle)
	}
}

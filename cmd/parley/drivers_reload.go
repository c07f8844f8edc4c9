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
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/parleymq/parley/messaging"
)

type reloadFlags struct {
	pid     int
	all     bool
	timeout time.Duration
}

func (a *app) reloadCommand() *cobra.Command {
	var f reloadFlags
	cmd := &cobra.Command{
		Use:   "reload [NAME]",
		Short: "Let running applications replace their drivers by the programs found now",
		Long: `Reload asks applications of this user, by the signal that each has chosen for it, to replace their
driver processes by ones of the programs that are found now: another build, or a newer version.
No message is lost on the way; a program that does not start, or fails in its first minute, is
taken back. A driver that was given up, in the phase broken, is started again as well.

NAME picks the applications that run that driver; the signal reloads their other drivers too.
Of several applications one is named by --pid, or --all are meant. The result of each driver is
awaited and printed; the exit status is 4 when one was not replaced.

An application takes part when it sets HostOptions.ReloadSignal; "parley serve" and "parley bench"
do, to SIGHUP.`,
		Example: `  parley drivers reload
  parley drivers reload rabbit --pid 4711
  parley drivers reload --all --timeout 1m -o json`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return exactArgs("the driver's name")(cmd, args)
		},
		RunE: a.begin(func(ctx context.Context, args []string) error {
			return a.reloadDrivers(ctx, strings.Join(args, ""), &f)
		}),
	}
	flags := cmd.Flags()
	flags.IntVar(&f.pid, "pid", 0, "process of the application")
	flags.BoolVar(&f.all, "all", false, "all applications of this user")
	addDuration(flags, &f.timeout, "timeout", 30*time.Second, "how long to wait for the results")
	return cmd
}

func (a *app) reloadDrivers(ctx context.Context, name string, f *reloadFlags) error {
	hosts, err := a.hostsToReload(name, f)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, max(f.timeout, time.Millisecond))
	defer cancel()
	reloads := make([]*hostReload, 0, len(hosts))
	for _, h := range hosts {
		r := &hostReload{before: h, results: make(map[string]reloadResult)}
		r.err = a.sendReload(h)
		reloads = append(reloads, r)
	}
	if err := a.awaitReloads(ctx, reloads); err != nil {
		return err
	}
	return a.printReloads(reloads)
}

// hostsToReload are those that name and flags mean.
func (a *app) hostsToReload(name string, f *reloadFlags) ([]hostStatus, error) {
	if f.pid != 0 && f.all {
		return nil, usagef("give one of them", "both --pid and --all are given")
	}
	hosts, err := a.runningHosts()
	if err != nil {
		return nil, err
	}
	hosts = slices.DeleteFunc(hosts, func(h hostStatus) bool {
		return f.pid != 0 && h.PID != f.pid || name != "" && !h.runs(name) || len(h.Drivers) == 0
	})
	switch {
	case len(hosts) == 0:
		return nil, &messaging.Error{
			Code: messaging.CodeUnavailable, Op: "reload drivers", Message: "no application of this user runs " + meant(name, f.pid),
			Hint: "see: parley drivers ps",
		}
	case len(hosts) > 1 && !f.all && f.pid == 0:
		pids := make([]string, len(hosts))
		for i, h := range hosts {
			pids[i] = fmt.Sprintf("%d (%s)", h.PID, baseName(h.Program))
		}
		return nil, usagef("name one with --pid, or mean --all", "%d applications run %s: %s", len(hosts), meant(name, 0), strings.Join(pids, ", "))
	default:
		return hosts, nil
	}
}

func (h hostStatus) runs(name string) bool {
	return slices.ContainsFunc(h.Drivers, func(d runningDriver) bool { return d.Name == name })
}

func meant(name string, pid int) string {
	text := "a driver"
	if name != "" {
		text = "the driver " + name
	}
	if pid != 0 {
		text += " as process " + strconv.Itoa(pid)
	}
	return text
}

// hostReload is the reload of one application.
type hostReload struct {
	before  hostStatus
	results map[string]reloadResult // by driver and class
	err     error                   // why there will be no more
}

// sendReload signals a host. Its process is held before its status is read again, so that nobody
// else gets the signal who has its number by now.
func (a *app) sendReload(h hostStatus) error {
	if h.ReloadSignal == "" {
		return a.cannotReload(h, "it has chosen no signal for that", "set HostOptions.ReloadSignal in the application, or start it again")
	}
	sig, ok := signalNamed(h.ReloadSignal)
	if !ok {
		return a.cannotReload(h, fmt.Sprintf("this system has no signal %q", h.ReloadSignal), "start the application again")
	}
	process, err := os.FindProcess(h.PID)
	if err != nil {
		return a.cannotReload(h, err.Error(), "see: parley drivers ps")
	}
	defer func() { _ = process.Release() }() // it is not ours to wait for
	now, err := a.runningHosts()
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(now, func(n hostStatus) bool { return n.PID == h.PID && n.Since.Equal(h.Since) }) {
		return a.cannotReload(h, "it has ended", "see: parley drivers ps")
	}
	if err := process.Signal(sig); err != nil {
		return a.cannotReload(h, err.Error(), "see: parley drivers ps")
	}
	return nil
}

func (a *app) cannotReload(h hostStatus, why, hint string) error {
	return &messaging.Error{
		Code: messaging.CodeUnavailable, Op: "reload drivers", Hint: hint,
		Message: fmt.Sprintf("%s (process %d) cannot be asked: %s", baseName(h.Program), h.PID, why),
	}
}

// signalNamed finds a signal by Go's name of it ("hangup").
func signalNamed(name string) (syscall.Signal, bool) {
	for n := syscall.Signal(1); n < 65; n++ {
		if n.String() == name {
			return n, true
		}
	}
	return 0, false
}

// pollInterval is how often the status of an application is read.
const pollInterval = 50 * time.Millisecond

// awaitReloads returns when each driver has its result, or ctx ends.
func (a *app) awaitReloads(ctx context.Context, reloads []*hostReload) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		now, err := a.runningHosts()
		if err != nil {
			return err
		}
		open := false
		for _, r := range reloads {
			r.note(now)
			open = open || r.err == nil && len(r.results) < len(r.before.Drivers)
		}
		if !open {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return ctx.Err()
			}
			return nil // what is missing is printed
		}
	}
}

// note takes what the status of the host tells.
func (r *hostReload) note(now []hostStatus) {
	if r.err != nil {
		return
	}
	i := slices.IndexFunc(now, func(n hostStatus) bool { return n.PID == r.before.PID && n.Since.Equal(r.before.Since) })
	if i < 0 {
		r.err = &messaging.Error{
			Code: messaging.CodeUnavailable, Op: "reload drivers", Hint: "see its log",
			Message: fmt.Sprintf("%s (process %d) ended meanwhile, or stopped its last driver", baseName(r.before.Program), r.before.PID),
		}
		return
	}
	for _, result := range now[i].Reloads {
		if result.Time.After(r.before.lastReload(result.key())) {
			r.results[result.key()] = result
		}
	}
}

// lastReload is when a driver was reloaded last, zero for never.
func (h hostStatus) lastReload(key string) time.Time {
	for _, r := range h.Reloads {
		if r.key() == key {
			return r.Time
		}
	}
	return time.Time{}
}

func (r reloadResult) key() string { return r.Driver + "/" + r.Class }

func (d runningDriver) key() string { return d.Name + "/" + d.Class }

// reloaded is what reload prints for programs, for each driver.
type reloaded struct {
	HostPID int    `json:"host_pid"`
	Program string `json:"program"`
	reloadResult
}

func (r *hostReload) lines() []reloaded {
	all := make([]reloaded, 0, len(r.before.Drivers))
	for _, d := range r.before.Drivers {
		result, ok := r.results[d.key()]
		switch {
		case ok:
		case r.err != nil:
			result = reloadResult{Driver: d.Name, Message: describe(r.err, false).Message}
		default:
			result = reloadResult{Driver: d.Name, Message: "no result in time; it may still be replaced"}
		}
		all = append(all, reloaded{HostPID: r.before.PID, Program: r.before.Program, reloadResult: result})
	}
	return all
}

// printReloads prints a line for each driver, and fails when one was not replaced.
func (a *app) printReloads(reloads []*hostReload) error {
	var all []reloaded
	var first error
	for _, r := range reloads {
		all = append(all, r.lines()...)
		if first == nil {
			first = r.err
		}
	}
	failed := slices.IndexFunc(all, func(r reloaded) bool { return !r.OK })
	if a.json() {
		if err := printJSON(a.stdout, all); err != nil {
			return err
		}
	} else if err := a.print(a.reloadText(all)); err != nil {
		return err
	}
	switch {
	case failed < 0:
		return nil
	case first != nil:
		return first
	default:
		return &messaging.Error{
			Code: messaging.CodeUnavailable, Op: "reload drivers", Message: "driver " + all[failed].Driver + ": " + all[failed].Message,
			Hint: "what ran before goes on; see: parley drivers ps, and the log of the application",
		}
	}
}

func (a *app) reloadText(all []reloaded) string {
	p := a.paint(a.stdout)
	var text strings.Builder
	for _, r := range all {
		status := stepOK
		if !r.OK {
			status = stepFail
		}
		say(&text, "%s  %d %s  %s: %s\n", p.status(status, pad(status, 4)), r.HostPID, baseName(r.Program), r.Driver, r.change())
	}
	return text.String()
}

func (r reloadResult) change() string {
	switch {
	case r.OK && r.From != "" && r.To != "":
		return r.From + " is now " + r.To
	case r.Message != "":
		return r.Message
	default:
		return "replaced"
	}
}

func baseName(path string) string { return filepath.Base(path) }

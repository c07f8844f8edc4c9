// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/parleymq/parley/messaging"
)

func (a *app) psCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "ps",
		Short: "Show the drivers that run now, in all applications of this user",
		Long: `Ps shows the driver processes of all of this user's applications that use the same directory
for sockets (see --runtime-dir), by what the applications have written down there: the phase
of each process (starting, ready, degraded, restarting, broken, draining), since when, how
often it was started, and how many transports share it. Why it is not ready stands below.`,
		Example: `  parley drivers ps
  parley drivers ps -o json`,
		Args: exactArgs(),
		RunE: a.begin(func(context.Context, []string) error { return a.listRunning() }),
	}
}

// hostStatus is what ps prints for programs.
type hostStatus struct {
	PID          int             `json:"pid"`
	Program      string          `json:"program"`
	Since        time.Time       `json:"since"`
	ReloadSignal string          `json:"reload_signal,omitempty"`
	Drivers      []runningDriver `json:"drivers"`
	Reloads      []reloadResult  `json:"reloads,omitempty"` // the last one of each driver
}

type runningDriver struct {
	Name       string     `json:"name"`
	Class      string     `json:"class,omitempty"`
	Version    string     `json:"version,omitempty"`
	File       string     `json:"file,omitempty"`
	PID        int        `json:"pid,omitempty"`
	Phase      string     `json:"phase"`
	Since      time.Time  `json:"since"`
	Starts     int        `json:"starts"`
	Transports int        `json:"transports"`
	RetryAt    *time.Time `json:"retry_at,omitempty"`
	Cause      string     `json:"cause,omitempty"`
}

type reloadResult struct {
	Time    time.Time `json:"time"`
	Driver  string    `json:"driver"`
	Class   string    `json:"class,omitempty"`
	From    string    `json:"from,omitempty"`
	To      string    `json:"to,omitempty"`
	OK      bool      `json:"ok"`
	Message string    `json:"message,omitempty"`
}

func newHostStatus(h messaging.HostStatus) hostStatus {
	s := hostStatus{PID: h.PID, Program: h.Program, Since: h.Since, ReloadSignal: h.ReloadSignal, Drivers: []runningDriver{}}
	for _, d := range h.Drivers {
		s.Drivers = append(s.Drivers, newRunningDriver(d))
	}
	for _, r := range h.Reloads {
		s.Reloads = append(s.Reloads, reloadResult(r))
	}
	return s
}

func newRunningDriver(d messaging.RunningDriver) runningDriver {
	r := runningDriver{
		Name: d.Name, Class: d.Class, Version: d.Version, File: d.File, PID: d.PID, Phase: string(d.Phase), Since: d.Since,
		Starts: d.Starts, Transports: d.Transports,
	}
	if !d.RetryAt.IsZero() {
		r.RetryAt = &d.RetryAt
	}
	if d.Err != nil {
		r.Cause = d.Err.Error()
	}
	return r
}

// runningHosts are those of this user, without this program's own.
func (a *app) runningHosts() ([]hostStatus, error) {
	found, err := messaging.RunningHosts(a.runtimeDir)
	if err != nil {
		if _, ok := errors.AsType[*messaging.Error](err); ok {
			return nil, err
		}
		return nil, &messaging.Error{Code: messaging.CodeUnavailable, Op: "list running hosts", Message: err.Error(), Err: err}
	}
	all := make([]hostStatus, 0, len(found))
	for _, h := range found {
		all = append(all, newHostStatus(h))
	}
	return all, nil
}

func (a *app) listRunning() error {
	hosts, err := a.runningHosts()
	if err != nil {
		return err
	}
	if a.json() {
		return printJSON(a.stdout, hosts)
	}
	now := time.Now()
	rows := [][]string{{"HOST PID", "PROGRAM", "DRIVER", "VERSION", "PID", "PHASE", "SINCE", "STARTS", "TRANSPORTS"}}
	var causes []string
	for _, h := range hosts {
		for _, d := range h.Drivers {
			rows = append(rows, d.row(h, now))
			causes = append(causes, d.trouble(now))
		}
	}
	if len(causes) == 0 {
		say(a.stderr, "parley: no driver runs now in the applications of this user\n"+
			"  hint: an application with another directory for sockets is found with --runtime-dir\n")
		return nil
	}
	return a.printRows(rows, func(i int) string { return causes[i] })
}

func (d runningDriver) row(h hostStatus, now time.Time) []string {
	name := d.Name
	if d.Class != "" {
		name += "/" + shorten(d.Class)
	}
	return []string{
		strconv.Itoa(h.PID), baseName(h.Program), name, orDash(d.Version), pidText(d.PID), d.Phase, ago(d.Since, now),
		strconv.Itoa(d.Starts), strconv.Itoa(d.Transports),
	}
}

// trouble is why there is no process, and when the next one is tried.
func (d runningDriver) trouble(now time.Time) string {
	text := d.Cause
	if d.RetryAt != nil && d.RetryAt.After(now) {
		if text != "" {
			text += "; "
		}
		text += "the next start is tried in " + d.RetryAt.Sub(now).Round(time.Second).String()
	}
	return text
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func pidText(pid int) string {
	if pid == 0 {
		return "-"
	}
	return strconv.Itoa(pid)
}

// ago is how long something lasts, for people.
func ago(since, now time.Time) string {
	if since.IsZero() {
		return "-"
	}
	d := max(0, now.Sub(since))
	switch {
	case d >= 48*time.Hour:
		return strconv.Itoa(int(d/(24*time.Hour))) + "d"
	case d >= time.Minute:
		return d.Truncate(time.Minute).String()[:len(d.Truncate(time.Minute).String())-len("0s")]
	default:
		return d.Truncate(time.Second).String()
	}
}

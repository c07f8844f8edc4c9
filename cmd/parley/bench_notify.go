// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/plugin/driver"
)

type benchNotifyFlags struct {
	benchLoad
	url          urlFlags
	topic        string
	exchange     string
	format       string
	withListener bool
}

// notifyFigures are the result of a benchmark of notifications.
type notifyFigures struct {
	URL                string             `json:"url"`
	Driver             string             `json:"driver"`
	DriverVersion      string             `json:"driver_version"`
	InFlight           int                `json:"in_flight"`
	Size               int                `json:"size"`
	Seconds            float64            `json:"seconds"`
	Notifications      int                `json:"notifications"`
	PerSecond          float64            `json:"notifications_per_second"`
	Latency            latencies          `json:"latency_ms"`
	Errors             map[string]int     `json:"errors"`
	CPUSeconds         map[string]float64 `json:"cpu_seconds"`
	CPUPerNotification float64            `json:"cpu_us_per_notification"`
}

func (a *app) benchNotifyCommand() *cobra.Command {
	var f benchNotifyFlags
	cmd := &cobra.Command{
		Use:   "notify [flags]",
		Short: "Measure notifications",
		Long: `Notify keeps a number of notifications in flight for a time, or until so many were accepted, and
prints notifications a second, how long one took to be accepted, and the processor time of
this program, its driver and, where it started one, the listener. One is accepted when the
broker has stored it, or where there is no broker when a listener has it.

With --with-listener a listener in a process of its own takes them and drops them, on a random
topic unless one is named. Without it there should be one: a queue that nobody consumes fills.`,
		Example: `  parley bench notify --with-listener
  parley bench notify --with-listener --in-flight 1 --notifications 5000 --size 10000
  parley bench notify --topic bench --duration 1m -o json`,
		Args: exactArgs(),
	}
	f.url.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.topic, "topic", "", "topic of the notifications (required without --with-listener)")
	flags.StringVar(&f.exchange, "exchange", "", "exchange of the topic (default \""+messaging.DefaultExchange+"\")")
	flags.StringVar(&f.format, "format", "2.0", "version of the notification's format: 1.0 or 2.0")
	f.add(flags, "notifications", "payload")
	flags.BoolVar(&f.withListener, "with-listener", false, "start a listener for the run")
	cmd.RunE = a.begin(func(ctx context.Context, _ []string) error { return a.benchNotify(ctx, &f) })
	return cmd
}

func (a *app) benchNotify(ctx context.Context, f *benchNotifyFlags) error {
	if f.topic == "" && !f.withListener {
		return usagef("name one with --topic, or start a listener with --with-listener", "no topic is given")
	}
	if err := f.check("notifications"); err != nil {
		return err
	}
	format, err := parseFormat(f.format)
	if err != nil {
		return err
	}
	raw, err := a.transportURL(&f.url)
	if err != nil {
		return err
	}
	if f.topic == "" {
		private := privateTarget("bench")
		f.topic, f.exchange = private.Topic, private.Exchange
		if raw, err = a.temporaryURL(ctx, raw, f.timeout); err != nil {
			return err
		}
	}
	opening, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	s, err := a.open(opening, a.host(), raw)
	if err != nil {
		return err
	}
	defer s.close()
	listener := &benchServer{}
	if f.withListener {
		if listener, err = a.startListener(opening, f, s.Transport, raw); err != nil {
			return err
		}
		defer listener.stop()
	}
	figures, err := a.measureNotifications(ctx, f, s, listener.pid, format)
	if figures == nil {
		return err
	}
	if printErr := a.printNotifyFigures(figures); printErr != nil {
		return printErr
	}
	return err
}

// benchEvent is the event type of a benchmark's notifications.
const benchEvent = "parley.bench"

func (a *app) measureNotifications(ctx context.Context, f *benchNotifyFlags, s *session, pid int, format messaging.NotificationFormat) (*figures, error) {
	notifier := messaging.NewNotifier(s.Transport, &messaging.NotifierOptions{
		Topics: []string{f.topic}, Exchange: f.exchange, Timeout: f.timeout, Outlets: []messaging.Outlet{messaging.BrokerOutlet(format)},
	})
	payload := map[string]any{"data": strings.Repeat("x", f.size)}
	figures, err := a.measureLoad(ctx, &f.benchLoad, s, pid, &load{noun: "notifications", call: func(ctx context.Context) error {
		return notifier.Info(ctx, benchEvent, payload)
	}})
	if figures != nil {
		rename(figures.CPUSeconds, cpuServer, cpuListener)
		rename(figures.CPUSeconds, cpuServerDriver, cpuListenerDriver)
	}
	return figures, err
}

// Names of the listener's processes in place of those of a server.
const (
	cpuListener       = "listener"
	cpuListenerDriver = "listener driver"
)

func rename(m map[string]float64, from, to string) {
	if v, ok := m[from]; ok {
		m[to] = v
		delete(m, from)
	}
}

// startListener starts a listener that drops what it gets, and returns when it listens. It has a
// process of its own, unless the driver does not reach beyond one process.
func (a *app) startListener(ctx context.Context, f *benchNotifyFlags, t *messaging.Transport, raw string) (*benchServer, error) {
	if t.Info().Has(driver.CapShared) {
		args := append(a.peerArgs("listen"), "--topic", f.topic, "--priority", string(messaging.PriorityInfo))
		if f.exchange != "" {
			args = append(args, "--exchange", f.exchange)
		}
		return a.runElsewhere(ctx, args, raw)
	}
	ep := messaging.NewNotificationEndpoint(nil)
	ep.Handle(messaging.PriorityInfo, func(context.Context, *messaging.Notification) error { return nil })
	target := messaging.Target{Exchange: f.exchange, Topic: f.topic}
	l := messaging.NewNotificationListener(t, []messaging.Target{target}, nil, ep)
	stop, err := startServing(ctx, l)
	if err != nil {
		return nil, err
	}
	return &benchServer{stop: stop}, nil
}

func (a *app) printNotifyFigures(f *figures) error {
	if !a.json() {
		return a.printFiguresOf("notifications", "a notification", f)
	}
	return printJSON(a.stdout, notifyFigures{
		URL: f.URL, Driver: f.Driver, DriverVersion: f.DriverVersion, InFlight: f.InFlight, Size: f.Size, Seconds: f.Seconds,
		Notifications: f.Calls, PerSecond: f.CallsPerSecond, Latency: f.Latency, Errors: f.Errors,
		CPUSeconds: f.CPUSeconds, CPUPerNotification: f.CPUPerCall,
	})
}

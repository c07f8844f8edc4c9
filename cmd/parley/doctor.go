// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/plugin/driver"
)

type doctorFlags struct {
	url     urlFlags
	timeout time.Duration
}

func (a *app) doctorCommand() *cobra.Command {
	var f doctorFlags
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Try each step from the URL to an answered call",
		Long: `Doctor goes the way a call goes, one step after another: it parses the URL, finds the driver,
checks that it may be trusted, starts it, checks the options, looks up and connects to each
host, logs in, and at last calls itself on a topic with a random name that is gone afterwards.
It stops at the first step that fails and says what to do there. The exit status is that of
the failure.`,
		Example: `  parley doctor --url rabbit://localhost/
  PARLEY_URL=rabbit://nova@broker1,nova@broker2/ parley doctor
  parley doctor --url-file /etc/parley/url -o json`,
		Args: exactArgs(),
	}
	f.url.add(cmd)
	addDuration(cmd.Flags(), &f.timeout, "timeout", 10*time.Second, "limit for each step")
	cmd.RunE = a.begin(func(ctx context.Context, _ []string) error { return a.doctor(ctx, &f) })
	return cmd
}

// How a step ended.
const (
	stepOK   = "ok"
	stepWarn = "warn"
	stepSkip = "skip"
	stepFail = "fail"
)

// stepResult is one line of the report.
type stepResult struct {
	Step    string  `json:"step"`
	Status  string  `json:"status"`
	Detail  string  `json:"detail"`
	Hint    string  `json:"hint,omitempty"`
	Seconds float64 `json:"seconds"`

	err error
}

// report is what doctor prints for programs.
type report struct {
	OK    bool         `json:"ok"`
	Steps []stepResult `json:"steps"`
}

// examination is one run of doctor: what a step finds out is there for the next.
type examination struct {
	a       *app
	host    *messaging.Host
	timeout time.Duration

	raw       string
	url       *messaging.URL
	info      driver.Info
	transport *messaging.Transport
	target    messaging.Target
	closeAll  []func() // in reverse order
}

type step struct {
	name string
	run  func(context.Context) stepResult
}

func (x *examination) steps() []step {
	return []step{
		{"url", x.parse},
		{"name", x.name},
		{"search", x.search},
		{"trust", x.trust},
		{"start", x.start},
		{"options", x.options},
		{"resolve", x.resolve},
		{"connect", x.connect},
		{"login", x.login},
		{"listen", x.listen},
		{"call", x.call},
	}
}

func (a *app) doctor(ctx context.Context, f *doctorFlags) error {
	raw, err := a.transportURL(&f.url)
	if err != nil {
		return err
	}
	x := &examination{a: a, host: a.host(), timeout: max(f.timeout, time.Millisecond), raw: raw}
	defer x.close()
	var r report
	for _, s := range x.steps() {
		result := x.perform(ctx, s)
		r.Steps = append(r.Steps, result)
		a.printStep(result)
		if err = result.err; err != nil {
			break
		}
	}
	r.OK = err == nil
	if a.json() {
		if printErr := printJSON(a.stdout, r); printErr != nil {
			return printErr
		}
	}
	if err != nil {
		return &shownError{err}
	}
	return nil
}

// perform runs one step in its time.
func (x *examination) perform(ctx context.Context, s step) stepResult {
	bounded, cancel := context.WithTimeout(ctx, x.timeout)
	defer cancel()
	begin := time.Now()
	r := s.run(bounded)
	r.Step, r.Seconds = s.name, time.Since(begin).Seconds()
	if r.err == nil {
		return r
	}
	if ctx.Err() != nil {
		r.err = ctx.Err() // interrupted
	}
	failure := describe(r.err, false)
	r.Status, r.Hint = stepFail, failure.Hint
	if r.Detail == "" {
		r.Detail = failure.Message
	}
	if r.Hint == "" {
		r.Hint = x.advice(r.err)
	}
	return r
}

func (x *examination) close() {
	for i := len(x.closeAll) - 1; i >= 0; i-- {
		x.closeAll[i]()
	}
}

// printStep shows a step as soon as it is done, for people.
func (a *app) printStep(r stepResult) {
	if a.json() {
		return
	}
	p := a.paint(a.stdout)
	took := ""
	if r.Seconds >= 0.001 {
		took = " (" + time.Duration(r.Seconds*float64(time.Second)).Round(time.Millisecond).String() + ")"
	}
	say(a.stdout, "%s  %s  %s%s\n", p.status(r.Status, pad(r.Status, 4)), pad(r.Step, 7), r.Detail, took)
	if r.Hint != "" {
		say(a.stdout, "               %s %s\n", p.bold("hint:"), r.Hint)
	}
}

// advice is what to do about an error that has no hint of its own.
func (x *examination) advice(err error) string {
	if e, ok := errors.AsType[*driver.Error](err); ok {
		if text := adviceFor(e.Reason); text != "" {
			return text
		}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Sprintf("nothing came within %s; a firewall that drops packets looks like this; --timeout waits longer", x.timeout)
	}
	return "the driver may say more with --log-level debug"
}

func adviceFor(r driver.Reason) string {
	switch r {
	case driver.ReasonAuthRefused:
		return "check user and password in the URL; in a password write @ as %40, : as %3A and / as %2F"
	case driver.ReasonVirtualHostMissing:
		return "check the URL's path: the virtual host must exist and the user must be allowed there"
	case driver.ReasonTLSFailed:
		return "check that this port speaks TLS, the certificate authority and the host's name in the certificate"
	case driver.ReasonAccessRefused:
		return "the user needs the right to configure, write and read at the broker"
	case driver.ReasonBrokerBlocked:
		return "the broker takes no messages: look at its alarms for memory and disk"
	case driver.ReasonNotConnected:
		return "the port is open but the broker did not answer as one: check that the port is the right one"
	default:
		return ""
	}
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/parleymq/parley/internal/tlspeer"
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
		Long: `Doctor goes the way a message goes, one step after another, and stops at the first one that
fails with what to do there. The exit status is that of the failure.

  url        the transport URL can be read, and names a driver
  search     the directories in which drivers are looked for can be read
  file       there is a program for the driver, and which one is used
  trust      only root and this user can have written it; its checksum
  handshake  it starts and answers in a protocol that both sides speak
  options    the URL's options are the driver's, and the files in them can be read
  dns        the hosts' names have addresses
  tcp        the hosts take connections
  tls        the hosts prove who they are; skipped where the options ask for no TLS
  login      the broker lets the user in
  vhost      the virtual host is there, and the user may use it
  broker     what the driver finds at its broker, a line each; what does not fit is a warning with
             what to change there. Skipped where the driver has nothing to tell
  declare    a queue can be made and listened to
  publish    a message is taken by the broker
  consume    the same message comes back
  call       a call is answered

A driver without a broker has nobody to log in to: dns and tcp then look at the hosts where others
are found, if the URL names any, and tls, login, vhost and broker are skipped. The last four steps
go through the driver's own listener.

What it declares has a random name and is gone afterwards. A step that works with a flaw is a
warning, and so is one host of several that does not work.`,
		Example: `  parley doctor --url rabbit://localhost/
  PARLEY_URL=rabbit://nova@broker1,nova@broker2/ parley doctor
  parley doctor --url zmq:///run/parley/mesh
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
	// Findings are what the driver found, of the step broker.
	Findings []brokerFinding `json:"findings,omitempty"`

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
	file      messaging.DriverFile
	info      driver.Info
	tls       *tlspeer.Settings // nil without TLS
	transport *messaging.Transport
	pinged    pingResult
	target    messaging.Target
	arrived   chan time.Time // of the message that publish sends; of capacity one
	sent      time.Time
	closeAll  []func() // in reverse order
}

type step struct {
	name string
	run  func(context.Context) stepResult
}

func (x *examination) steps() []step {
	return []step{
		{"url", x.parse},
		{"search", x.search},
		{"file", x.findFile},
		{"trust", x.trust},
		{"handshake", x.handshake},
		{"options", x.options},
		{"dns", x.resolve},
		{"tcp", x.connect},
		{"tls", x.secure},
		{"login", x.login},
		{"vhost", x.vhost},
		{"broker", x.diagnose},
		{"declare", x.declare},
		{"publish", x.publish},
		{"consume", x.consume},
		{"call", x.call},
	}
}

// stepWidth is that of the longest name.
const stepWidth = len("handshake")

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
	say(a.stdout, "%s  %s  %s%s\n", p.status(r.Status, pad(r.Status, 4)), pad(r.Step, stepWidth), r.Detail, took)
	indent := strings.Repeat(" ", len(stepFail)+stepWidth+4)
	if r.Hint != "" {
		say(a.stdout, "%s%s %s\n", indent, p.bold("hint:"), r.Hint)
	}
	for _, f := range r.Findings {
		a.printFinding(f, indent)
	}
}

// advice is what to do about an error that has no hint of its own.
func (x *examination) advice(err error) string {
	if messaging.CodeOf(err) == messaging.CodeInvalidURL {
		return "a URL is DRIVER://USER:PASSWORD@HOST:PORT/VHOST?OPTION=VALUE; in a user or password write @ as %40, : as %3A and / as %2F"
	}
	if e, ok := errors.AsType[*driver.Error](err); ok {
		if text := adviceFor(e.Reason); text != "" && !x.direct() {
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
		return "the broker takes no messages: look at its alarms for memory and disk, with RabbitMQ by: rabbitmq-diagnostics alarms"
	case driver.ReasonNotConnected:
		return "the port is open but the broker did not answer as one: check that the port is the right one"
	default:
		return ""
	}
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/plugin/driver"
)

// defaultEventType is what upstream's oslo-messaging-send-notification sends.
const defaultEventType = "test"

type notifyFlags struct {
	url          urlFlags
	topics       []string
	exchange     string
	publisherID  string
	priority     string
	format       string
	context      string
	wholeContext bool
	headers      []string
	retry        int
	timeout      time.Duration
	lines        bool
	spool        string
}

func (a *app) notifyCommand() *cobra.Command {
	var f notifyFlags
	cmd := &cobra.Command{
		Use:   "notify [flags] [EVENT_TYPE [ARG...]]",
		Short: "Send a notification",
		Long: `Notify sends a notification and ends once the broker has stored it, or a listener has it where
there is no broker.

The payload is an object of all ARGs, which are key=text or key:=json. Instead of them one
JSON object may be given, =text or :=json for a payload that is no object, or - to read any
JSON value from standard input. With --lines each line of standard input is the payload of a
notification of its own; they are sent in order, and no more of them after one that failed.

The defaults are those of upstream's oslo-messaging-send-notification: event type "test",
topic "notifications", priority info and format 2.0, which upstream calls messagingv2.

Of the request context only the keys that identify request and user travel, unless
--whole-context is given. Nothing is printed; with -o json it is the message id, one line
for each notification.`,
		Example: `  parley notify --publisher-id compute.host1 instance.create.end id=7 vcpus:=2
  parley notify --topic audit --topic notifications --priority warn disk.full path=/var
  jq -c '.[]' events.json | parley notify --lines import.row`,
		Args: checkEventType,
	}
	f.url.add(cmd)
	addNotificationTopic(cmd.Flags(), &f.topics, &f.exchange)
	flags := cmd.Flags()
	flags.StringVar(&f.publisherID, "publisher-id", "", "who notifies, by convention service.host (default \"parley.\" and the name of this machine)")
	flags.StringVar(&f.priority, "priority", string(messaging.PriorityInfo), "audit, debug, info, warn, error, critical or sample")
	flags.StringVar(&f.format, "format", "2.0", "version of the notification's format: 1.0 or 2.0")
	flags.StringVar(&f.context, "context", "", "request context, a JSON object")
	flags.BoolVar(&f.wholeContext, "whole-context", false, "let all of the request context travel, secrets too")
	flags.StringArrayVar(&f.headers, "header", nil, "header, as KEY=VALUE, where the driver carries headers (repeatable)")
	flags.IntVar(&f.retry, "retry", -1, "how often to try again while the broker is not to be had: -1 as long as there is time, 0 never")
	addDuration(flags, &f.timeout, "timeout", messaging.DefaultReplyTimeout, "limit for starting the driver and sending; with --lines for each notification")
	flags.BoolVar(&f.lines, "lines", false, "read payloads from standard input, one JSON value a line")
	flags.StringVar(&f.spool, "spool", "", "directory that keeps what the broker does not take now; the next notify with it sends that first")
	cmd.RunE = a.begin(func(ctx context.Context, args []string) error { return a.notify(ctx, &f, args) })
	return cmd
}

// addNotificationTopic defines the flags that name topics of notifications.
func addNotificationTopic(flags *pflag.FlagSet, topics *[]string, exchange *string) {
	flags.StringArrayVar(topics, "topic", []string{messaging.DefaultNotificationTopic}, "topic of the notifications, without priority (repeatable)")
	flags.StringVar(exchange, "exchange", "", "exchange of the topics (default \""+messaging.DefaultExchange+"\")")
}

// checkEventType refuses arguments without an event type before them.
func checkEventType(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if args[0] == "" || args[0] == "-" || strings.Contains(args[0], "=") || strings.HasPrefix(args[0], "{") {
		return usagef("write: "+cmd.CommandPath()+" "+defaultEventType+" key=text", "%q is no event type, which comes before the arguments", shorten(args[0]))
	}
	return nil
}

// preparedNotification is what a command line asks to send, checked as far as that goes without
// a driver.
type preparedNotification struct {
	url       string
	priority  messaging.Priority
	eventType string
	payload   any // without --lines
	headers   map[string]string
	opts      messaging.NotifierOptions
}

// check reads flags and arguments. No driver is started for a mistake.
func (f *notifyFlags) check(ctx context.Context, a *app, args []string) (context.Context, *preparedNotification, error) {
	p := &preparedNotification{eventType: defaultEventType}
	if len(args) > 0 {
		p.eventType, args = args[0], args[1:]
	}
	var err error
	if p.priority, err = messaging.ParsePriority(f.priority); err != nil {
		return nil, nil, err
	}
	if err = f.checkInput(a, args); err != nil {
		return nil, nil, err
	}
	if p.headers, err = parsePairs("header", "VALUE", f.headers); err != nil {
		return nil, nil, err
	}
	if p.opts, err = f.options(); err != nil {
		return nil, nil, err
	}
	if !f.lines {
		if p.payload, err = parsePayload(args, a.stdin); err != nil {
			return nil, nil, err
		}
	}
	if p.url, err = a.transportURL(&f.url); err != nil {
		return nil, nil, err
	}
	ctx, err = withRequestContext(ctx, f.context)
	return ctx, p, err
}

// checkInput refuses standard input for two things.
func (f *notifyFlags) checkInput(a *app, args []string) error {
	fromStdin := f.lines || len(args) == 1 && args[0] == "-"
	switch {
	case f.timeout <= 0:
		return usagef("give a time such as --timeout 5s", "the timeout is zero")
	case f.lines && len(args) > 0 && (len(args) > 1 || args[0] != "-"):
		return usagef("give one of them", "both --lines and arguments are given")
	case fromStdin && a.urlFromStdin(&f.url):
		return usagef("read one of them from a file", "both the URL and the payload are to come from standard input")
	default:
		return nil
	}
}

func (f *notifyFlags) options() (messaging.NotifierOptions, error) {
	opts := messaging.NotifierOptions{
		PublisherID: f.publisherID, Topics: f.topics, Exchange: f.exchange, Timeout: f.timeout, Retry: &f.retry,
	}
	if f.wholeContext {
		opts.Context = messaging.WholeContext()
	}
	format, err := parseFormat(f.format)
	opts.Outlets = []messaging.Outlet{messaging.BrokerOutlet(format)}
	return opts, err
}

func parseFormat(text string) (messaging.NotificationFormat, error) {
	switch text {
	case "1", "1.0", "messaging":
		return messaging.NotificationV1, nil
	case "2", "2.0", "messagingv2":
		return messaging.NotificationV2, nil
	default:
		return 0, usagef("use 1.0 or 2.0", "there is no format %q", shorten(text))
	}
}

// parsePairs reads the flags what, which are KEY=value.
func parsePairs(what, value string, pairs []string) (map[string]string, error) {
	values := make(map[string]string, len(pairs))
	for _, pair := range pairs {
		key, text, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return nil, usagef(fmt.Sprintf("write --%s KEY=%s", what, value), "%q is no %s", shorten(pair), what)
		}
		if _, twice := values[key]; twice {
			return nil, usagef("give each key once", "the %s %q is given twice", what, shorten(key))
		}
		values[key] = text
	}
	return values, nil
}

func (a *app) notify(ctx context.Context, f *notifyFlags, args []string) error {
	ctx, p, err := f.check(ctx, a, args)
	if err != nil {
		return err
	}
	a.warnOfContext(ctx, f)
	opening, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	s, err := a.open(opening, a.host(), p.url)
	if err != nil {
		return err
	}
	defer s.close()
	if err := p.checkHeaders(s.Info()); err != nil {
		return err
	}
	end, err := a.useSpool(ctx, f, s, p)
	if err != nil {
		return err
	}
	defer end()
	if f.lines {
		return s.explain(a.notifyLines(ctx, s, p))
	}
	return s.explain(a.notifyOnce(opening, s, p))
}

// warnOfContext names what of the request context does not travel.
func (a *app) warnOfContext(ctx context.Context, f *notifyFlags) {
	rc, _ := messaging.RequestContextFrom(ctx)
	if f.wholeContext || len(rc) == 0 {
		return
	}
	safe := messaging.SafeContext()(rc)
	var left []string
	for _, key := range slices.Sorted(maps.Keys(rc)) {
		if _, travels := safe[key]; !travels {
			left = append(left, shorten(key))
		}
	}
	if len(left) > 0 {
		a.warn(fmt.Sprintf("of the request context %s is not sent; --whole-context sends it", strings.Join(left, ", ")))
	}
}

// checkHeaders refuses headers that the driver would leave out.
func (p *preparedNotification) checkHeaders(info driver.Info) error {
	if len(p.headers) > 0 && !info.Has(driver.CapHeaders) {
		return usagef("leave --header out", "the driver %s carries no headers", info.Name)
	}
	return nil
}

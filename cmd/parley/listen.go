// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/parleymq/parley/messaging"
)

type listenFlags struct {
	url         urlFlags
	topics      []string
	exchange    string
	pool        string
	priorities  []string
	eventType   string
	publisherID string
	payload     []string
	metadata    []string
	context     []string
	count       int
	duration    time.Duration
	timeout     time.Duration
	drain       time.Duration
}

func (a *app) listenCommand() *cobra.Command {
	var f listenFlags
	cmd := &cobra.Command{
		Use:   "listen [flags]",
		Short: "Receive notifications and print them",
		Long: `Listen prints each notification on a line until it gets SIGINT or SIGTERM, or has --count of
them, or for the time of --for; it then prints what it has begun, gives the rest back and
ends with status 0. When --count did not come in the time of --for the status is 3.

It consumes: a notification is acknowledged once its line is written. Without --pool it shares
with all listeners that have none, and what it gets they do not, also what its filters
leave out. With --pool it gets copies of all from its start on, shared with the listeners of
that pool. On RabbitMQ a pool is a queue that stays, and fills up when nobody listens.

Filters are regular expressions of Go that have to match from the start of a value and need not
reach its end. Those with a KEY are for the text at that key; a notification without it is left
out. The keys of --metadata are message_id and timestamp.

With -o json a line has message_id, publisher_id, event_type, priority, payload, timestamp,
context, headers and redelivered.`,
		Example: `  parley listen
  parley listen --topic audit --priority error,critical --pool my-audit -o json | jq .payload
  parley listen --event-type 'compute\.instance\.' --payload 'state=active|error' --count 1 --for 30s`,
		Args: exactArgs(),
	}
	f.url.add(cmd)
	addNotificationTopic(cmd.Flags(), &f.topics, &f.exchange)
	flags := cmd.Flags()
	flags.StringVar(&f.pool, "pool", "", "pool of listeners to be in")
	flags.StringSliceVar(&f.priorities, "priority", nil, "priority to listen to (repeatable, default all)")
	flags.StringVar(&f.eventType, "event-type", "", "expression for the event type")
	flags.StringVar(&f.publisherID, "publisher-id", "", "expression for the publisher id")
	flags.StringArrayVar(&f.payload, "payload", nil, "expression for a text in the payload, as KEY=REGEX (repeatable)")
	flags.StringArrayVar(&f.metadata, "metadata", nil, "expression for message_id or timestamp, as KEY=REGEX (repeatable)")
	flags.StringArrayVar(&f.context, "context-filter", nil, "expression for a text in the request context, as KEY=REGEX (repeatable)")
	flags.IntVar(&f.count, "count", 0, "end after so many notifications; 0 is without end")
	addDuration(flags, &f.duration, "for", 0, "end after so long, counted from when it listens; 0s is without end")
	addDuration(flags, &f.timeout, "timeout", 0, "limit for the start; 0s waits for the broker without end, and with --for one minute")
	addDuration(flags, &f.drain, "drain", 5*time.Second, "how long lines that were begun may take to be written at the end")
	cmd.RunE = a.begin(func(ctx context.Context, _ []string) error { return a.listen(ctx, &f) })
	return cmd
}

// listenJob is what a command line asks to listen to, checked as far as that goes without a driver.
type listenJob struct {
	url        string
	targets    []messaging.Target
	priorities []messaging.Priority
	filter     messaging.NotificationFilter
	opts       messaging.NotificationListenerOptions
}

// check reads the flags. No driver is started for a mistake.
func (f *listenFlags) check(a *app) (*listenJob, error) {
	if f.count < 0 {
		return nil, usagef("give a number from 1, or 0 for no end", "--count is %d", f.count)
	}
	j := &listenJob{filter: messaging.NotificationFilter{PublisherID: f.publisherID, EventType: f.eventType}}
	for _, topic := range f.topics {
		j.targets = append(j.targets, messaging.Target{Exchange: f.exchange, Topic: topic})
	}
	var err error
	if j.priorities, err = parsePriorities(f.priorities); err != nil {
		return nil, err
	}
	for _, part := range []struct {
		name  string
		pairs []string
		to    *map[string]string
	}{{"payload", f.payload, &j.filter.Payload}, {"metadata", f.metadata, &j.filter.Metadata}, {"context-filter", f.context, &j.filter.Context}} {
		if *part.to, err = parsePairs(part.name, "REGEX", part.pairs); err != nil {
			return nil, err
		}
	}
	j.opts = messaging.NotificationListenerOptions{
		Pool: f.pool, ShutdownTimeout: max(f.drain, time.Millisecond),
		// One line after another, and no more taken from others than is wanted.
		OrderBy:     func(*messaging.Notification) string { return "all" },
		Concurrency: messaging.DefaultConcurrency,
	}
	if f.count > 0 {
		j.opts.Concurrency = min(f.count, messaging.DefaultConcurrency)
	}
	j.url, err = a.transportURL(&f.url)
	return j, err
}

func parsePriorities(names []string) ([]messaging.Priority, error) {
	if len(names) == 0 {
		return messaging.Priorities(), nil
	}
	seen := make(map[messaging.Priority]bool)
	var all []messaging.Priority
	for _, name := range names {
		p, err := messaging.ParsePriority(name)
		if err != nil {
			return nil, err
		}
		if !seen[p] {
			seen[p] = true
			all = append(all, p)
		}
	}
	return all, nil
}

func (a *app) listen(ctx context.Context, f *listenFlags) error {
	j, err := f.check(a)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	started := f.startLimit(stop)
	defer started()
	defer keepBrokenPipe()()
	s, err := a.openWatched(ctx, a.host(), j.url)
	if err != nil {
		return err
	}
	defer s.close()
	p := newNotificationPrinter(a, f.count, stop)
	ep := messaging.NewNotificationEndpoint(&messaging.NotificationEndpointOptions{Filter: &j.filter})
	for _, priority := range j.priorities {
		ep.Handle(priority, p.print)
	}
	l := messaging.NewNotificationListener(s.Transport, j.targets, &j.opts, ep)
	err = serveUntil(ctx, l, func() {
		started()
		a.announceListening(f, j, s.URL())
		if f.duration > 0 {
			time.AfterFunc(f.duration, func() { stop(errTimeOver) }) // has no effect after the end
		}
	})
	return f.outcome(ctx, s, p, err)
}

// The reasons for the end of listen besides signals.
var (
	errTimeOver   = errors.New("the time of --for is over")
	errCounted    = errors.New("the notifications of --count came")
	errNotStarted = errors.New("the time for the start is over")
)

// startLimit ends the start when it takes too long. The function returned is for who is ready.
func (f *listenFlags) startLimit(stop context.CancelCauseFunc) (ready func() bool) {
	limit := f.timeout
	if limit == 0 && f.duration > 0 {
		limit = messaging.DefaultReplyTimeout
	}
	if limit == 0 {
		return func() bool { return true }
	}
	return time.AfterFunc(limit, func() { stop(errNotStarted) }).Stop
}

// outcome tells what the end of listening means. err is that of Serve.
func (f *listenFlags) outcome(ctx context.Context, s *session, p *notificationPrinter, err error) error {
	printed, writeErr := p.result()
	if !errors.Is(err, messaging.ErrServerClosed) {
		return err
	}
	switch cause := context.Cause(ctx); {
	case writeErr != nil:
		if errors.Is(writeErr, syscall.EPIPE) { // who reads has enough
			return nil
		}
		return writeErr
	case errors.Is(cause, errCounted):
		return nil
	case errors.Is(cause, errNotStarted):
		return s.explain(noReply("it did not listen in time"))
	case printed >= f.count:
		return nil
	case errors.Is(cause, errTimeOver):
		return s.explain(noReply("%d of %d notifications came in %v", printed, f.count, f.duration))
	default: // a signal
		return context.Canceled
	}
}

func noReply(format string, args ...any) error {
	return &messaging.Error{Code: messaging.CodeNoReply, Op: "listen", Message: fmt.Sprintf(format, args...)}
}

// keepBrokenPipe makes a broken pipe an error of writing instead of the end of the process, so
// that what was not written goes back.
func keepBrokenPipe() (undo func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGPIPE)
	return func() { signal.Stop(c) }
}

// openWatched opens a transport for a command that waits for its broker, and tells why it waits.
func (a *app) openWatched(ctx context.Context, h *messaging.Host, raw string) (*session, error) {
	s := &session{}
	trouble := a.logTrouble(ctx)
	t, err := messaging.Open(ctx, raw, &messaging.Options{
		Host: h, Aliases: a.aliases, AppName: "parley", Logger: a.logger,
		OnState: func(state messaging.State) { s.note(state); trouble(state) },
	})
	if err != nil {
		return nil, a.openError(h, raw, err)
	}
	s.Transport = t
	s.close = func() { a.closeTransport(ctx, t) }
	return s, nil
}

// listening is the line that says that notifications are received.
type listening struct {
	Event      string               `json:"event"`
	Topics     []string             `json:"topics"`
	Priorities []messaging.Priority `json:"priorities"`
	Pool       string               `json:"pool"`
	URL        string               `json:"url"`
}

// announceListening says what is listened to: what is sent from now on arrives.
func (a *app) announceListening(f *listenFlags, j *listenJob, url *messaging.URL) {
	if a.json() {
		_ = printJSON(a.stderr, listening{eventConsuming, f.topics, j.priorities, f.pool, url.String()}) // as for a server
		return
	}
	priorities := "all priorities"
	if len(j.priorities) < len(messaging.Priorities()) {
		var names []string
		for _, p := range j.priorities {
			names = append(names, string(p))
		}
		priorities = strings.Join(names, ", ")
	}
	say(a.stderr, "parley: listening to %s (%s) at %s; %s\n", strings.Join(f.topics, ", "), priorities, url,
		cmp.Or(f.poolText(), "what is shown here is taken from other listeners without a pool"))
}

func (f *listenFlags) poolText() string {
	if f.pool == "" {
		return ""
	}
	return "in the pool " + f.pool + ", with copies of all"
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/parleymq/parley/messaging"
)

// defaultQueuesTimeout bounds everything that the command does.
const defaultQueuesTimeout = 30 * time.Second

type queuesFlags struct {
	url        urlFlags
	topics     []string
	exchange   string
	priorities []string
	pool       string
	timeout    time.Duration
}

func (a *app) queuesCommand() *cobra.Command {
	var f queuesFlags
	cmd := &cobra.Command{
		Use:   "queues [flags]",
		Short: "Show what waits in the queues of notifications",
		Long: `Queues asks the broker for the queues in which the notifications of some topics wait: how
many wait there and how many listeners take from them. With --pool it looks at the queue of
that pool, without it at those of the listeners that have none.

A queue with messages and no listener is marked: where the notifier declares its queues, as
services of OpenStack do, they fill up when nobody listens. Nothing is declared, changed or
taken, and what is found is no failure: the status is 0. -o json prints one list.

Not every driver can tell; "parley drivers show" has the capability notification_queues then.`,
		Example: `  parley queues --topic notifications
  parley queues --topic notifications --topic versioned_notifications --priority info --priority error
  parley queues --topic notifications --pool audit -o json`,
		Args: exactArgs(),
	}
	f.url.add(cmd)
	flags := cmd.Flags()
	flags.StringArrayVar(&f.topics, "topic", nil, "topic of the notifications (required, repeatable)")
	flags.StringVar(&f.exchange, "exchange", "", "exchange of the topics (default \""+messaging.DefaultExchange+"\")")
	flags.StringArrayVar(&f.priorities, "priority", nil, "priority to look at (repeatable; default all)")
	flags.StringVar(&f.pool, "pool", "", "pool of the listeners (default those without one)")
	addDuration(flags, &f.timeout, "timeout", defaultQueuesTimeout, "limit for everything, from starting the driver to the end")
	cmd.RunE = a.begin(func(ctx context.Context, _ []string) error { return a.queues(ctx, &f) })
	return cmd
}

func (a *app) queues(ctx context.Context, f *queuesFlags) error {
	targets, priorities, err := f.check()
	if err != nil {
		return err
	}
	url, err := a.transportURL(&f.url)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	s, err := a.open(ctx, a.host(), url)
	if err != nil {
		return err
	}
	defer s.close()
	found, err := s.NotificationQueues(ctx, targets, priorities, f.pool)
	if err != nil {
		return s.explain(err)
	}
	if a.json() {
		return printJSON(a.stdout, shownQueues(found))
	}
	return a.printQueues(found)
}

// check reads the flags. No driver is started for a mistake.
func (f *queuesFlags) check() ([]messaging.Target, []messaging.Priority, error) {
	switch {
	case len(f.topics) == 0:
		return nil, nil, usagef("name one with --topic, such as --topic notifications", "no topic is given")
	case f.timeout <= 0:
		return nil, nil, usagef("give a time such as --timeout 5s", "the timeout is zero")
	}
	var targets []messaging.Target
	for _, topic := range f.topics {
		targets = append(targets, messaging.Target{Exchange: f.exchange, Topic: topic})
	}
	var priorities []messaging.Priority
	for _, text := range f.priorities {
		p, err := messaging.ParsePriority(text)
		if err != nil {
			return nil, nil, err
		}
		priorities = append(priorities, p)
	}
	return targets, priorities, nil
}

// shownQueue is what the command prints for programs.
type shownQueue struct {
	Queue     string       `json:"queue"`
	Pool      string       `json:"pool"`
	Topics    []shownTopic `json:"topics"`
	Exists    bool         `json:"exists"`
	Messages  uint64       `json:"messages"`
	Consumers int          `json:"consumers"`
	Unheard   bool         `json:"unheard"`
}

type shownTopic struct {
	Exchange string `json:"exchange"`
	Topic    string `json:"topic"`
	Priority string `json:"priority"`
}

func shownQueues(found []messaging.NotificationQueue) []shownQueue {
	all := make([]shownQueue, 0, len(found))
	for _, q := range found {
		s := shownQueue{
			Queue: q.Name, Pool: q.Pool, Topics: []shownTopic{}, Exists: q.Exists,
			Messages: q.Messages, Consumers: q.Consumers, Unheard: q.Unheard(),
		}
		for _, t := range q.Topics {
			s.Topics = append(s.Topics, shownTopic{t.Exchange, t.Topic, string(t.Priority)})
		}
		all = append(all, s)
	}
	return all
}

// printQueues is the table for people.
func (a *app) printQueues(found []messaging.NotificationQueue) error {
	rows := make([][]string, 0, 1+len(found))
	rows = append(rows, []string{"QUEUE", "MESSAGES", "CONSUMERS", "NOTE"})
	for _, q := range found {
		row := []string{q.Name, strconv.FormatUint(q.Messages, 10), strconv.Itoa(q.Consumers), ""}
		switch {
		case !q.Exists:
			row = []string{q.Name, "-", "-", "there is no such queue"}
		case q.Unheard():
			row[3] = "nobody listens"
		}
		rows = append(rows, row)
	}
	return a.printRows(rows, nil)
}

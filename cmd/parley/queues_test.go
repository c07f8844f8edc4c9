// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/messaging"
)

// TestQueuesUsage has the texts of mistakes.
func TestQueuesUsage(t *testing.T) {
	for _, test := range []struct{ args, want string }{
		{"queues", "no topic is given\n  hint: name one with --topic, such as --topic notifications"},
		{"queues --topic t --timeout 0", "the timeout is zero\n  hint: give a time such as --timeout 5s"},
		{"queues --topic t", "no transport URL is given\n  hint: set PARLEY_URL, or give --url-file or --url, such as rabbit://user:password@host:5672/"},
		{"queues --topic t extra", "\"extra\" is one argument too many\n  hint: see: parley queues --help"},
	} {
		got := inProcess(t, nil, "", strings.Fields(test.args)...)
		if want := (ran{"", "parley: " + test.want + "\n", exitUsage}); got != want {
			t.Errorf("%s: got %+v, want %+v", test.args, got, want)
		}
	}
	got := inProcess(t, nil, "", "queues", "-o", "json", "--topic", "t", "--priority", "loud")
	if f := failureOf(t, got); got.status != exitUsage || !strings.Contains(f.Message, "loud") || !strings.Contains(f.Hint, "critical") {
		t.Errorf("got %+v", got)
	}
	help := inProcess(t, nil, "", "queues", "--help")
	if help.status != exitDone || !strings.Contains(help.stdout, "Examples:\n  ") || len(help.stdout) < 300 {
		t.Errorf("got %+v", help)
	}
}

// TestQueuesTable has the forms of the output.
func TestQueuesTable(t *testing.T) {
	topic := []messaging.NotificationTopic{{Exchange: "openstack", Topic: "n", Priority: "info"}}
	found := []messaging.NotificationQueue{
		{Name: "n.info", Topics: topic, Exists: true, Messages: 120, Consumers: 2},
		{Name: "n.error", Topics: topic, Exists: true, Messages: 7},
		{Name: "n.debug", Topics: topic},
		{Name: "n.warn", Topics: topic, Exists: true},
	}
	var out bytes.Buffer
	a := &app{stdout: &out, env: func(string) string { return "" }}
	if err := a.printQueues(found); err != nil {
		t.Fatal(err)
	}
	const want = `QUEUE    MESSAGES  CONSUMERS  NOTE
n.info   120       2
n.error  7         0          nobody listens
n.debug  -         -          there is no such queue
n.warn   0         0
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
	text, err := json.Marshal(shownQueues(found[1:2]))
	if err != nil || string(text) != `[{"queue":"n.error","pool":"","topics":[{"exchange":"openstack","topic":"n","priority":"info"}],`+
		`"exists":true,"messages":7,"consumers":0,"unheard":true}]` {
		t.Errorf("got %s, %v", text, err)
	}
}

// TestQueuesFake needs no broker: there is nothing in the queues of a new process.
func TestQueuesFake(t *testing.T) {
	p := build(t, "fake", "zmq")
	got := p.run(t, "queues", "-o", "json", "--url", "fake://", "--topic", "t", "--priority", "info", "--priority", "ERROR")
	var queues []shownQueue
	if err := json.Unmarshal([]byte(got.stdout), &queues); err != nil || got.status != exitDone || len(queues) != 2 ||
		queues[0].Exists || queues[1].Topics[0].Priority != "error" {
		t.Errorf("got %+v, %v", got, err)
	}
	got = p.run(t, "queues", "--url", "fake://", "--topic", "t", "--exchange", "e", "--pool", "p")
	if got.status != exitDone || strings.Count(got.stdout, "\n") != 8 || !strings.Contains(got.stdout, "e/t.info/p") {
		t.Errorf("got %+v", got)
	}
	got = p.run(t, "queues", "-o", "json", "--url", "zmq://"+t.TempDir(), "--topic", "t")
	if f := failureOf(t, got); got.status != exitUsage || f.Code != string(messaging.CodeUnsupported) || f.Hint == "" || got.stdout != "" {
		t.Errorf("got %+v", got)
	}
	got = p.run(t, "queues", "-o", "json", "--url", "fake://", "--topic", "#")
	if f := failureOf(t, got); got.status != exitUsage || f.Hint == "" {
		t.Errorf("got %+v", got)
	}
}

// TestQueuesRabbit looks at queues of a real broker.
func TestQueuesRabbit(t *testing.T) {
	p := build(t, "rabbit")
	broker := peertest.RunSharedRabbitMQ(t)
	vhost := broker.NewVhost(t)
	p.secret = "hidden" + rand.Text()
	user := "u-" + strings.ToLower(rand.Text())
	if err := errors.Join(broker.AddUser(t.Context(), user, p.secret), broker.Allow(t.Context(), user, vhost)); err != nil {
		t.Fatal(err)
	}
	p.env = append(p.env, fmt.Sprintf("%s=rabbit://%s:%s@%s/%s", urlVariable, user, p.secret, broker.Addr(), vhost))
	args := []string{"queues", "--topic", "n", "--priority", "info"}
	got := p.expect(t, exitDone, "QUEUE   MESSAGES  CONSUMERS  NOTE\nn.info  -         -          there is no such queue\n", args...)
	if got.stderr != "" {
		t.Errorf("standard error is not quiet: %s", got.stderr)
	}
	url := fmt.Sprintf("rabbit://%s:%s@%s/%s", user, p.secret, broker.Addr(), vhost)
	transport, err := messaging.Open(t.Context(), url, &messaging.Options{DriverPath: []string{p.drivers}})
	if err != nil {
		t.Fatal(err)
	}
	defer transport.Close(t.Context()) //nolint:errcheck // the test is over
	notifier := messaging.NewNotifier(transport, &messaging.NotifierOptions{Topics: []string{"n"}, PublisherID: "p"})
	for range 3 {
		if err := notifier.Info(t.Context(), "e", nil); err != nil {
			t.Fatal(err)
		}
	}
	p.expect(t, exitDone, "QUEUE   MESSAGES  CONSUMERS  NOTE\nn.info  3         0          nobody listens\n", args...)
	got = p.run(t, append(slices.Clone(args), "-o", "json")...)
	var queues []shownQueue
	if err := json.Unmarshal([]byte(got.stdout), &queues); err != nil || len(queues) != 1 || queues[0].Messages != 3 || !queues[0].Unheard || got.stderr != "" {
		t.Errorf("got %+v, %v", got, err)
	}
	got = p.run(t, append(slices.Clone(args), "--pool", "audit", "--timeout", "10s")...)
	if got.status != exitDone || !strings.Contains(got.stdout, "\naudit  -") {
		t.Errorf("got %+v", got)
	}
	got = p.run(t, "queues", "-o", "json", "--topic", "n", "--url", "rabbit://127.0.0.1:1/", "--timeout", "8s")
	if f := failureOf(t, got); got.status != exitUnavailable || f.Hint == "" {
		t.Errorf("got %+v", got)
	}
}

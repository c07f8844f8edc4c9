// SPDX-License-Identifier: Apache-2.0

package badinput

import (
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

// awayTime is how long a call has over what waiting may heal.
const awayTime = 700 * time.Millisecond

// verdicts is how often a call is made again that was over before the driver knew what it waited for, as
// it can be on a busy machine.
const verdicts = 10

// away is a URL that Open takes, and what a call and a cast say of it.
type away struct {
	name   string
	url    string
	atOnce bool // waiting does not heal it
	want   error
	texts  []string
	silent bool // the log says nothing of it; else the first of the texts
}

// TestBroker calls over brokers that are not there or do not let us in. What waiting does not
// heal fails at once, the rest when the call's time is over.
func TestBroker(t *testing.T) {
	for scheme, rowsOf := range map[string]func(*testing.T) []away{"rabbit": rabbitAway, "qpid": qpidAway, "zmq": zmqAway} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			for _, tc := range rowsOf(t) {
				t.Run(tc.name, func(t *testing.T) {
					t.Parallel()
					tc.check(t)
				})
			}
		})
	}
}

func rabbitAway(t *testing.T) []away {
	t.Helper()
	addr := bed.Broker(t).Addr()
	return []away{
		{name: "refused", url: "rabbit://guest:guest@127.0.0.1:1/",
			texts: []string{"cannot connect to 127.0.0.1:1", "connection refused", "check that the broker runs and that host and port are right"}},
		{name: "unknown host", url: "rabbit://guest:guest@broker.invalid/",
			texts: []string{"cannot connect to broker.invalid:5672", "check that the broker runs"}},
		{name: "wrong password", url: "rabbit://guest:wrong@" + addr + "/", atOnce: true,
			texts: []string{addr + ` refused the login of user "guest"`, "check user and password in the URL"}},
		{name: "unknown user", url: "rabbit://nobody:guest@" + addr + "/", atOnce: true,
			texts: []string{addr + ` refused the login of user "nobody"`}},
		{name: "missing vhost", url: "rabbit://guest:guest@" + addr + "/no%20such", atOnce: true,
			texts: []string{addr + ` has no virtual host "no such" for user "guest"`, "create the virtual host"}},
	}
}

func qpidAway(t *testing.T) []away {
	t.Helper()
	broker, foreign := bed.BrokerJ(t), bed.Broker(t).Addr()
	addr, users := broker.Addr(), broker.PlainAddr()
	user := peertest.BrokerJUser
	return append(clearTextAway(t, user, users), []away{
		{name: "refused", url: "qpid://127.0.0.1:1/",
			texts: []string{"cannot connect to 127.0.0.1:1", "connection refused", "check that the broker runs and that host and port are right"}},
		{name: "unknown host", url: "qpid://broker.invalid/",
			texts: []string{"cannot connect to broker.invalid:5672", "check that the broker runs"}},
		{name: "wrong password", url: "qpid://" + user + ":wrong@" + users + "/", atOnce: true,
			texts: []string{users + ` refused the login of user "` + user + `"`, "check user and password in the URL"}},
		{name: "unknown user", url: "qpid://nobody:guest@" + users + "/", atOnce: true,
			texts: []string{users + ` refused the login of user "nobody"`}},
		{name: "no user", url: "qpid://" + users + "/", atOnce: true,
			texts: []string{users, "user:password@"}},
		{name: "a user where there are none", url: "qpid://" + user + ":wrong@" + addr + "/", atOnce: true,
			texts: []string{addr + " offers ANONYMOUS to log in with, and not PLAIN", "set sasl_mechanisms to one of ANONYMOUS"}},
		{name: "missing vhost", url: "qpid://" + addr + "/no%20such?pseudo_vhost=false", atOnce: true,
			texts: []string{addr + ` has no virtual host "no such"`, "leave out pseudo_vhost=false"}},
		{name: "TLS where there is none", url: "qpid://" + addr + "/?ssl=true", atOnce: true,
			texts: []string{addr, "ssl"}},
		{name: "as if it were RabbitMQ", url: "rabbit://guest:guest@" + addr + "/",
			texts: []string{addr + " speaks AMQP 1.0, and not 0-9-1", "take qpid://"}},
		{name: "RabbitMQ", url: "qpid://guest:guest@" + foreign + "/",
			texts: []string{foreign + " speaks AMQP 0-9-1, and not 1.0", "for RabbitMQ take rabbit://"}},
	}...)
}

// clearTextAway are a broker on another machine that is spoken to in the clear, for all the driver
// knows: the password is not sent, unless that is allowed.
func clearTextAway(t *testing.T, user, addr string) []away {
	t.Helper()
	far := relayFromAfar(t, addr)
	if far == "" {
		t.Log("NOT PROVEN: that no password is sent in the clear: this machine has no address but the loopback's")
		return nil
	}
	url := "qpid://" + user + ":wrong@" + far + "/"
	return []away{
		{name: "password in the clear", url: url, atOnce: true, want: messaging.ErrConfig,
			texts: []string{"the password is not sent to " + far + ": the connection is not encrypted", "ssl=true", "sasl_allow_insecure=true"}},
		{name: "password in the clear, allowed", url: url + "?sasl_allow_insecure=true", atOnce: true,
			texts: []string{far + ` refused the login of user "` + user + `"`}},
	}
}

// saysAll reports whether an error has all of the texts.
func saysAll(err error, texts []string) bool {
	return !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(err.Error(), text) })
}

// hasText looks for a text in a log, which may have quoted it.
func hasText(logs *testbed.Logs, text string) bool {
	all := logs.String()
	return strings.Contains(all, text) || strings.Contains(all, strings.ReplaceAll(text, `"`, `\"`))
}

// zmqAway are ways to find peers by which none are found.
func zmqAway(t *testing.T) []away {
	t.Helper()
	const here = "?rpc_zmq_bind_address=127.0.0.1"
	redis, foreign := peertest.RunRedis(t, &peertest.RedisOptions{Password: "right"}).Addr(), bed.Broker(t).Addr()
	dir := t.TempDir()
	text := writeFile(t, filepath.Join(dir, "text"), "no list of peers")
	return []away{
		{name: "Redis refused", url: "zmq+redis://127.0.0.1:1/" + here, texts: []string{"Redis at 127.0.0.1:1", "connection refused", "check the address and that Redis runs"}},
		{name: "Redis of an unknown host", url: "zmq+redis://redis.invalid/" + here, texts: []string{"redis.invalid:6379"}},
		{name: "Redis with a wrong password", url: "zmq+redis://default:wrong@" + redis + "/" + here, texts: []string{"Redis at " + redis, "password"}},
		{name: "Redis without a password", url: "zmq+redis://" + redis + "/" + here, texts: []string{"Redis at " + redis, "password"}},
		{name: "no Redis", url: "zmq+redis://" + foreign + "/" + here, texts: []string{"Redis at " + foreign}},
		{name: "a list that is not there", url: "zmq+static://" + dir + "/peers.json" + here, texts: []string{dir + "/peers.json", "no such file"}},
		{name: "a list that is text", url: "zmq+static://" + text + here, texts: []string{text, `{"peers": ["tcp://host:9501"]}`}},
		{name: "a seed that refuses", url: "zmq+seeds://127.0.0.1:1/" + here, texts: []string{"127.0.0.1:1"}},
		{name: "nobody", url: "zmq://" + dir, silent: true, want: messaging.ErrUndeliverable, texts: []string{"nobody listens", "start a server of it"}},
	}
}

func (a *away) check(t *testing.T) {
	tr, logs := bed.Open(t, a.url)
	want := a.want
	if want == nil {
		want = messaging.ErrUnavailable
	}
	c := messaging.NewRPCClient(tr, messaging.Target{Topic: "t"}, &messaging.RPCClientOptions{Timeout: patience})
	if !a.atOnce {
		c = c.With(messaging.Timeout(awayTime))
	}
	var wg sync.WaitGroup
	for verb, do := range map[string]func() error{
		"call": func() error { return c.Call(t.Context(), "echo", nil, nil) },
		"cast": func() error { return c.Cast(t.Context(), "echo", nil) },
	} {
		wg.Go(func() { a.fail(t, verb, want, do) })
	}
	wg.Wait()
	if !a.silent && !testbed.Wait(patience, func() bool { return hasText(logs, a.texts[0]) }) {
		t.Error("the log says nothing of it")
	}
}

// fail does what must fail.
func (a *away) fail(t *testing.T, verb string, want error, do func() error) {
	t.Helper()
	began := time.Now()
	err := do()
	took := time.Since(began)
	texts := append(slices.Clone(a.texts), verb+" echo <topic=t>")
	for again := 0; again < verdicts && !a.atOnce && err != nil && !saysAll(err, texts); again++ {
		err = do()
	}
	mustSay(t, err, want, texts...)
	if a.atOnce && took > patience/2 || !a.atOnce && took > awayTime+patience/2 {
		t.Errorf("the %s took %v", verb, took)
	}
}

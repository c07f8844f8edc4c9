// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/testkit"
)

func testSettings(t *testing.T, options map[string]string, change func(*driver.Config)) *settings {
	t.Helper()
	values, err := driver.ValidateOptions(optionSpecs(), options)
	if err != nil {
		t.Fatal(err)
	}
	cfg := driver.Config{Options: values}
	if change != nil {
		change(&cfg)
	}
	s, err := newSettings(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestOptionDefaults has upstream's defaults (oslo_messaging/_drivers/impl_rabbit.py).
func TestOptionDefaults(t *testing.T) {
	s := testSettings(t, nil, nil)
	if s.durable || s.autoDelete || s.quorum || s.transientQuorum || s.shuffle || !s.directMandatory || s.prefetch != 0 {
		t.Errorf("got %+v", s)
	}
	if s.transientTTL != 30*time.Minute || s.heartbeat != time.Minute || s.retryInterval != time.Second ||
		s.retryBackoff != 2*time.Second || s.intervalMax != 30*time.Second || s.loginMethod != "AMQPLAIN" {
		t.Errorf("got %+v", s)
	}
	if s.vhost != "/" || len(s.hosts) != 1 || s.hosts[0].Address(defaultPort) != "localhost:5672" ||
		s.hosts[0].User != "guest" || s.hosts[0].Password.Reveal() != "guest" {
		t.Errorf("got %+v", s)
	}
	for i, want := range []time.Duration{time.Second, 3 * time.Second, 5 * time.Second, 7 * time.Second} {
		if got := s.backoff(i); got != want {
			t.Errorf("backoff(%d) is %v", i, got)
		}
	}
	if got := s.backoff(1000); got != 30*time.Second {
		t.Errorf("the longest wait is %v", got)
	}
}

func TestCredentials(t *testing.T) {
	s := testSettings(t, nil, func(c *driver.Config) {
		c.Hosts = []driver.Host{{Name: "a", User: "u"}, {Name: "b", User: "u", Password: "p"}, {Name: "c"}}
		c.VirtualHost = "v"
	})
	var got []string
	for _, h := range s.hosts {
		got = append(got, h.User+":"+h.Password.Reveal())
	}
	if want := []string{"u:guest", "u:p", "guest:guest"}; !slices.Equal(got, want) || s.vhost != "v" {
		t.Errorf("got %q, vhost %q", got, s.vhost)
	}
}

func TestOpenRefusesVariant(t *testing.T) {
	_, err := newDriver().Open(t.Context(), driver.Config{Variant: "x"})
	testkit.FailsWith(t, err, driver.ReasonConfig)
}

func TestOptionsRefused(t *testing.T) {
	for name, value := range map[string]string{
		"rabbit_ha_queues": "true", optFailover: "random", optLoginMethod: "EXTERNAL", optPrefetch: "-1",
		optTransientTTL: "-1", optRetryInterval: "0", optHeartbeat: "soon",
	} {
		if _, err := driver.ValidateOptions(optionSpecs(), map[string]string{name: value}); driver.ReasonOf(err) != driver.ReasonConfig {
			t.Errorf("%s=%s: got %v", name, value, err)
		}
	}
}

// TestTopology has a line for each declaration, in the order of the wire.
func TestTopology(t *testing.T) {
	srv := server(driver.SettleOnPoll)
	scoped := srv
	scoped.Target.Scoped = true
	notes := driver.Source{Kind: driver.SourceNotifications, Notifications: []driver.NotificationTopic{
		{Exchange: "openstack", Topic: "n", Priority: "info"}, {Exchange: "nova", Topic: "n", Priority: "error"},
	}}
	pool := notes
	pool.Pool = "p"
	for _, tt := range []struct {
		name    string
		options map[string]string
		src     driver.Source
		want    []string
	}{
		{"server", nil, srv, []string{
			"openstack topic - > v - map[] > v",
			"openstack topic - > v.s1 - map[] > v.s1",
			"v_fanout fanout A > v_fanout_hex - map[x-expires:1800000] > v",
		}},
		{"scoped server", nil, scoped, []string{
			"openstack topic - > v - map[] > v",
			"openstack topic - > v.s1 - map[] > v.s1",
			"openstack.v_fanout_scoped_9 fanout A > openstack.v_fanout_scoped_9_hex - map[x-expires:1800000] > v",
		}},
		{"durable", map[string]string{optDurableQueues: "true"}, srv, []string{
			"openstack topic D > v D map[] > v",
			"openstack topic D > v.s1 D map[] > v.s1",
			"v_fanout fanout A > v_fanout_hex - map[x-expires:1800000] > v",
		}},
		{"auto delete", map[string]string{optAutoDelete: "true"}, srv, []string{
			"openstack topic A > v A map[] > v",
			"openstack topic A > v.s1 A map[] > v.s1",
			"v_fanout fanout A > v_fanout_hex - map[x-expires:1800000] > v",
		}},
		{"quorum", map[string]string{optQuorumQueue: "true"}, srv, []string{
			"openstack topic D > v D map[x-queue-type:quorum] > v",
			"openstack topic D > v.s1 D map[x-queue-type:quorum] > v.s1",
			"v_fanout fanout A > v_fanout_hex - map[x-expires:1800000] > v",
		}},
		{"quorum and transient quorum", map[string]string{optQuorumQueue: "true", optTransientQuorum: "true"}, srv, []string{
			"openstack topic D > v D map[x-queue-type:quorum] > v",
			"openstack topic D > v.s1 D map[x-queue-type:quorum] > v.s1",
			"v_fanout fanout DA > v_fanout_hex D map[x-expires:1800000 x-queue-type:quorum] > v",
		}},
		{"no ttl", map[string]string{optTransientTTL: "0"}, srv, []string{
			"openstack topic - > v - map[] > v",
			"openstack topic - > v.s1 - map[] > v.s1",
			"v_fanout fanout A > v_fanout_hex - map[] > v",
		}},
		{"replies", nil, testkit.Replies("reply_1"), []string{"reply_1 direct A > reply_1 - map[x-expires:1800000] > reply_1"}},
		{"notifications", nil, notes, []string{
			"openstack topic - > n.info - map[] > n.info", "nova topic - > n.error - map[] > n.error",
		}},
		{"pool", nil, pool, []string{"openstack topic - > p - map[] > n.info", "nova topic - > p - map[] > n.error"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			top, err := testSettings(t, tt.options, nil).topologyOf(tt.src, "hex")
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, b := range top.bindings {
				got = append(got, fmt.Sprintf("%s %s %s > %s %s %v > %s", b.exchange.name, b.exchange.kind,
					flags(b.exchange.durable, b.exchange.autoDelete), b.queue.name,
					flags(b.queue.durable, b.queue.autoDelete), map[string]any(b.queue.args), b.key))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

func flags(durable, autoDelete bool) string {
	s := ""
	if durable {
		s += "D"
	}
	if autoDelete {
		s += "A"
	}
	if s == "" {
		return "-"
	}
	return s
}

func TestAddress(t *testing.T) {
	s := testSettings(t, nil, nil)
	target := driver.Target{Exchange: "openstack", Topic: "v"}
	one, fan := target, target
	one.Server = "s1"
	fan.Fanout = true
	scoped := fan
	scoped.Scoped = true
	for _, tt := range []struct {
		name      string
		m         driver.Message
		exchange  string
		key       string
		mandatory bool
	}{
		{"topic", driver.Message{Kind: driver.Call, Target: target}, "openstack", "v", false},
		{"server", driver.Message{Kind: driver.Cast, Target: one, Mandatory: true}, "openstack", "v.s1", true},
		{"fanout", driver.Message{Kind: driver.Cast, Target: fan}, "v_fanout", "", false},
		{"scoped fanout", driver.Message{Kind: driver.Cast, Target: scoped}, "openstack.v_fanout_scoped_9", "", false},
		{"reply", driver.Message{Kind: driver.Reply, ReplyTo: "r"}, "", "r", true},
		{"heartbeat", driver.Message{Kind: driver.Heartbeat, ReplyTo: "r"}, "", "r", true},
		{"notification", driver.Message{Kind: driver.Notification, Target: target, Priority: "info"}, "openstack", "v.info", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var o outgoing
			if err := s.address(&o, &tt.m); err != nil {
				t.Fatal(err)
			}
			if o.exchange.name != tt.exchange || o.key != tt.key || o.mandatory != tt.mandatory {
				t.Errorf("got %q %q %t", o.exchange.name, o.key, o.mandatory)
			}
		})
	}
	var o outgoing
	if err := s.address(&o, &driver.Message{Kind: driver.Reply}); err == nil {
		t.Error("a reply to nobody has an address")
	}
}

func TestConnectError(t *testing.T) {
	h := driver.Host{User: "u", Password: "s3cr3t"}
	for _, tt := range []struct {
		err  error
		want driver.Reason
	}{
		{&amqp.Error{Code: 403, Reason: "ACCESS_REFUSED", Server: true}, driver.ReasonAuthRefused},
		{&amqp.Error{Code: 530, Reason: "NOT_ALLOWED - vhost v not found", Server: true}, driver.ReasonVirtualHostMissing},
		{&amqp.Error{Code: 530, Reason: "NOT_ALLOWED - connection limit (1) is reached", Server: true}, driver.ReasonNotConnected},
		{&amqp.Error{Code: 320, Reason: "CONNECTION_FORCED", Server: true}, driver.ReasonNotConnected},
		{amqp.ErrSASL, driver.ReasonAuthRefused},
		{amqp.ErrCredentials, driver.ReasonNotConnected}, // the library's guess for a socket that closed
		{&net.OpError{Op: "dial", Err: errors.New("connection refused")}, driver.ReasonNotConnected},
	} {
		e := connectError("h:5672", h, "v", tt.err)
		if e.Reason != tt.want || strings.Contains(e.Error(), "s3cr3t") || !strings.Contains(e.Message, "h:5672") {
			t.Errorf("%v: got %v", tt.err, e)
		}
	}
}

func TestBrokerError(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want driver.Reason
	}{
		{amqp.ErrClosed, driver.ReasonNotConnected},
		{&amqp.Error{Code: 403, Reason: "no", Server: true}, driver.ReasonAccessRefused},
		{&amqp.Error{Code: 405, Reason: "locked", Server: true}, driver.ReasonPrecondition},
		{&amqp.Error{Code: 406, Reason: "PRECONDITION_FAILED - inequivalent arg 'x-expires' for queue 'v' in vhost '/': received none", Server: true}, driver.ReasonPrecondition},
		{&amqp.Error{Code: 541, Reason: "INTERNAL_ERROR", Server: true}, driver.ReasonInternal},
	} {
		if e := brokerError("declare queue \"v\"", tt.err); e.Reason != tt.want || !strings.Contains(e.Message, `"v"`) {
			t.Errorf("%v: got %v", tt.err, e)
		}
	}
}

// TestPermission: a refusal says which permission is missing.
func TestPermission(t *testing.T) {
	for _, tt := range []struct{ what, reason, want string }{
		{`declare queue "q"`, "ACCESS_REFUSED - access to queue 'q' in vhost '/' refused for user 'u'", "configure"},
		{`bind queue "q" to exchange "e"`, "ACCESS_REFUSED - access to queue 'q' in vhost '/' refused for user 'u'", "write"},
		{`bind queue "q" to exchange "e"`, "ACCESS_REFUSED - access to exchange 'e' in vhost '/' refused for user 'u'", "read"},
		{`consume queue "q"`, "ACCESS_REFUSED - access to queue 'q' in vhost '/' refused for user 'u'", "read"},
		{"publish", "ACCESS_REFUSED - access to exchange 'e' in vhost '/' refused for user 'u'", "write"},
	} {
		e := brokerError(tt.what, &amqp.Error{Code: amqp.AccessRefused, Reason: tt.reason, Server: true})
		if !strings.HasPrefix(e.Hint, "give the user the permission to "+tt.want+" it") {
			t.Errorf("%s, %s: got %q", tt.what, tt.reason, e.Hint)
		}
	}
}

func TestSizeLimit(t *testing.T) {
	for text, want := range map[string]int{
		"PRECONDITION_FAILED - message size 500190 is larger than configured max size 400000":     400000,
		"PRECONDITION_FAILED - message size 500190 is larger than configured max size 400000 now": 400000,
		"PRECONDITION_FAILED - unknown delivery tag 5":                                            0,
	} {
		if got, ok := sizeLimit(text); got != want || ok != (want > 0) {
			t.Errorf("%q: got %d, %t", text, got, ok)
		}
	}
}

// TestAckTracker settles tags in random order and checks that the acknowledgements cover each
// exactly once.
func TestAckTracker(t *testing.T) {
	const n = 500
	tracker := newAckTracker()
	order := rand.Perm(n)
	acked := make(map[uint64]bool)
	open := func(tag uint64) bool { return !acked[tag] }
	for len(order) > 0 {
		take := min(len(order), 1+rand.IntN(20))
		var tags []uint64
		for _, i := range order[:take] {
			tags = append(tags, uint64(i+1))
		}
		order = order[take:]
		tags = tracker.open(append(tags, tags[0], n+5), n) // one twice, one never delivered
		if len(tags) != take {
			t.Fatalf("%d of %d tags are open", len(tags), take)
		}
		covered, upTo := tracker.settle(tags)
		if covered > 0 {
			for tag := uint64(1); tag <= upTo; tag++ {
				if open(tag) && !slices.Contains(tags[:covered], tag) {
					t.Fatalf("an acknowledgement up to %d covers %d, which is not settled", upTo, tag)
				}
				acked[tag] = true
			}
		}
		for _, tag := range tags[covered:] {
			acked[tag] = true
		}
	}
	if len(acked) != n || tracker.base != n+1 || len(tracker.settled) != 0 {
		t.Errorf("%d acknowledged, base %d, %d left", len(acked), tracker.base, len(tracker.settled))
	}
}

func TestCork(t *testing.T) {
	a, b := net.Pipe()
	c := newCorkConn(a)
	defer func() { _ = errors.Join(c.Close(), b.Close()) }()
	c.cork()
	for _, s := range []string{"one ", "two ", "three"} {
		if _, err := c.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	got := make(chan string, 1)
	go func() {
		buf := make([]byte, 100)
		n, _ := b.Read(buf)
		got <- string(buf[:n])
	}()
	testkit.Must(t, c.uncork())
	if text := <-got; text != "one two three" {
		t.Errorf("one write was %q", text)
	}
	go func() {
		buf := make([]byte, 100)
		n, _ := b.Read(buf)
		got <- string(buf[:n])
	}()
	c.cork()
	for i, s := range []string{"ack ", "ack ", "qos"} {
		if i == 2 {
			c.uncorkWithNext()
		}
		_, err := c.Write([]byte(s))
		testkit.Must(t, err)
	}
	if text := <-got; text != "ack ack qos" {
		t.Errorf("one write was %q", text)
	}
	if c.corks != 0 || c.loose != 0 || len(c.buf) != 0 {
		t.Errorf("left are %d corks, %d loose ones and %q", c.corks, c.loose, c.buf)
	}
	testkit.Must(t, b.Close())
	c.cork()
	_, err := c.Write([]byte("x"))
	testkit.Must(t, err)
	if c.uncork() == nil {
		t.Error("the error of what was held back is lost")
	}
	if _, err := c.Write([]byte("x")); err == nil {
		t.Error("writing after an error succeeded")
	}
}

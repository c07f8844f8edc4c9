// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/testkit"
	"github.com/parleymq/parley/plugins/qpid/internal/address"
)

func findings(t *testing.T, c *conn) map[string]driver.Finding {
	t.Helper()
	all, err := c.Diagnose(testkit.Within(t, longEnough))
	if err != nil {
		t.Fatal(err)
	}
	byTopic := make(map[string]driver.Finding)
	for _, f := range all {
		if _, twice := byTopic[f.Topic]; twice || f.Detail == "" || f.Flaw != (f.Hint != "") {
			t.Errorf("finding %+v", f)
		}
		byTopic[f.Topic] = f
	}
	return byTopic
}

func TestDiagnoseBrokerJ(t *testing.T) {
	c, _ := openSender(t, shared.usual.use(t), nil)
	got := findings(t, c)
	for topic, want := range map[string]string{
		"product": "Apache Qpid Broker-J", "addressing": "legacy", "tls": "clear text within this machine", "login": "no user",
		"limits": "sessions a connection", "relay": "anonymous relay", "any server": "unicast.openstack.parley-doctor-",
		"one server": "exclusive.openstack.parley-doctor-", "fanout": "broadcast.openstack.parley-doctor-",
		"notifications": ".info", "replies": "dynamic nodes",
	} {
		if f := got[topic]; f.Flaw || !strings.Contains(f.Detail, want) {
			t.Errorf("%s: %+v", topic, f)
		}
	}
}

func TestDiagnoseMissingPolicies(t *testing.T) {
	c, _ := openSender(t, shared.bare.use(t), nil)
	got := findings(t, c)
	for _, topic := range []string{"any server", "one server", "fanout", "notifications"} {
		if f := got[topic]; !f.Flaw || !strings.Contains(f.Hint, "nodeAutoCreationPolicies") || !strings.Contains(f.Detail, "amqp:not-found") {
			t.Errorf("%s: %+v", topic, f)
		}
	}
	if f := got["replies"]; f.Flaw {
		t.Errorf("replies: %+v", f)
	}
}

// TestHints: each hint names the prefixes that are set, and Broker-J's is JSON whose patterns fit the
// addresses.
func TestHints(t *testing.T) {
	o := address.Defaults()
	o.BroadcastPrefix = "all+"
	for product, want := range map[string]string{
		"qpid-cpp": "topic-patterns=all+", "qpid-dispatch-router": "openstack.org/om/rpc/multicast  distribution: multicast",
		"skupper-router": "openstack.org/om/notify/anycast  distribution: balanced", "apache-activemq-artemis": "auto-create-queues",
		"RabbitMQ": "rabbit://", "": "make them beforehand", "other": "make them beforehand",
	} {
		d := &diagnosis{c: &conn{set: &settings{addresses: o}}, s: &session{product: product, addr: o.For(product)}}
		if hint := d.policyHint(); !strings.Contains(hint, want) {
			t.Errorf("%q: %s", product, hint)
		}
	}
	var parsed struct {
		Policies []struct{ Pattern, NodeType string } `json:"nodeAutoCreationPolicies"`
	}
	if err := json.Unmarshal([]byte(brokerJPolicies(o)), &parsed); err != nil || len(parsed.Policies) != 2 {
		t.Fatalf("%v: %s", err, brokerJPolicies(o))
	}
	for i, example := range []string{"unicast.openstack.t", "all+.openstack.t.all"} {
		if ok, err := regexp.MatchString("^"+parsed.Policies[i].Pattern+"$", example); !ok || err != nil {
			t.Errorf("%s does not match %s: %v", parsed.Policies[i].Pattern, example, err)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package address

import (
	"slices"
	"strings"
	"testing"

	"github.com/parleymq/parley/plugin/driver"
)

func with(change func(*Options)) Options {
	o := Defaults()
	if change != nil {
		change(&o)
	}
	return o
}

// The addresses are those that oslo.messaging 14.9.3 makes of the same targets and options.
func TestMessage(t *testing.T) {
	vhost := with(func(o *Options) { o.VirtualHost = "vh1" })
	prefixes := with(func(o *Options) {
		o.ServerRequestPrefix, o.BroadcastPrefix, o.GroupRequestPrefix = "one", "every", "any"
		o.RPCAddressPrefix, o.NotifyAddressPrefix = "r/p", "n/p"
		o.UnicastAddress, o.MulticastAddress, o.AnycastAddress = "u", "m", "a"
	})
	empty := with(func(o *Options) {
		o.ServerRequestPrefix, o.BroadcastPrefix, o.GroupRequestPrefix = "", "", ""
		o.RPCAddressPrefix, o.NotifyAddressPrefix = "", ""
		o.UnicastAddress, o.MulticastAddress, o.AnycastAddress = "", "", ""
	})
	exchanges := with(func(o *Options) { o.DefaultRPCExchange, o.DefaultNotificationExchange = "rx", "nx" })
	nova := with(func(o *Options) { o.DefaultExchange, o.DefaultRPCExchange = "nova", "rx" })
	none := with(func(o *Options) { o.DefaultExchange = "" })

	openstack := driver.Target{Exchange: "openstack", Topic: "topicA"}
	server := driver.Target{Exchange: "openstack", Topic: "topicA", Server: "host1"}
	fanout := driver.Target{Exchange: "openstack", Topic: "topicA", Fanout: true}
	for _, c := range []struct {
		name             string
		opts             Options
		kind             driver.Kind
		target           driver.Target
		priority         string
		legacy, routable string
	}{
		{"anycast", with(nil), driver.Call, openstack, "", "unicast.openstack.topicA", "openstack.org/om/rpc/anycast/openstack/topicA"},
		{"unicast", with(nil), driver.Call, server, "", "exclusive.openstack.topicA.host1", "openstack.org/om/rpc/unicast/openstack/topicA/host1"},
		{"multicast", with(nil), driver.Cast, fanout, "", "broadcast.openstack.topicA.all", "openstack.org/om/rpc/multicast/openstack/topicA"},
		{"fanout before server", with(nil), driver.Cast, driver.Target{Exchange: "e", Topic: "t", Server: "s", Fanout: true}, "",
			"broadcast.e.t.all", "openstack.org/om/rpc/multicast/e/t"},
		{"notification", with(nil), driver.Notification, driver.Target{Exchange: "openstack", Topic: "notifs"}, "info",
			"unicast.openstack.notifs.info", "openstack.org/om/notify/anycast/openstack/notifs.info"},
		{"notification in an exchange", with(nil), driver.Notification, driver.Target{Exchange: "nova", Topic: "notifs"}, "error",
			"unicast.nova.notifs.error", "openstack.org/om/notify/anycast/nova/notifs.error"},

		{"vhost, anycast", vhost, driver.Call, openstack, "", "unicast.vh1.openstack.topicA", "openstack.org/om/rpc/anycast/vh1/openstack/topicA"},
		{"vhost, unicast", vhost, driver.Call, server, "", "exclusive.vh1.openstack.topicA.host1", "openstack.org/om/rpc/unicast/vh1/openstack/topicA/host1"},
		{"vhost, multicast", vhost, driver.Cast, fanout, "", "broadcast.vh1.openstack.topicA.all", "openstack.org/om/rpc/multicast/vh1/openstack/topicA"},
		{"vhost, notification", vhost, driver.Notification, openstack, "info",
			"unicast.vh1.openstack.topicA.info", "openstack.org/om/notify/anycast/vh1/openstack/topicA.info"},

		{"prefixes, anycast", prefixes, driver.Call, openstack, "", "any.openstack.topicA", "r/p/a/openstack/topicA"},
		{"prefixes, unicast", prefixes, driver.Call, server, "", "one.openstack.topicA.host1", "r/p/u/openstack/topicA/host1"},
		{"prefixes, multicast", prefixes, driver.Cast, fanout, "", "every.openstack.topicA.all", "r/p/m/openstack/topicA"},
		{"prefixes, notification", prefixes, driver.Notification, openstack, "info", "any.openstack.topicA.info", "n/p/a/openstack/topicA.info"},

		// The slash between prefix and tag is not one of joining, and stays.
		{"empty, anycast", empty, driver.Call, openstack, "", "openstack.topicA", "//openstack/topicA"},
		{"empty, unicast", empty, driver.Call, server, "", "openstack.topicA.host1", "//openstack/topicA/host1"},
		{"empty, multicast", empty, driver.Cast, fanout, "", "openstack.topicA.all", "//openstack/topicA"},
		{"empty topic", with(nil), driver.Call, driver.Target{Exchange: "e"}, "", "unicast.e", "openstack.org/om/rpc/anycast/e"},
		{"empty topic with a server", with(nil), driver.Call, driver.Target{Exchange: "e", Server: "s"}, "", "exclusive.e.s", "openstack.org/om/rpc/unicast/e/s"},
		{"empty priority", with(nil), driver.Notification, driver.Target{Exchange: "e", Topic: "t"}, "",
			"unicast.e.t.", "openstack.org/om/notify/anycast/e/t."},

		// Exchanges.
		{"no exchange", with(nil), driver.Call, driver.Target{Topic: "t"}, "", "unicast.openstack.t", "openstack.org/om/rpc/anycast/openstack/t"},
		{"default rpc exchange", exchanges, driver.Call, openstack, "", "unicast.openstack.topicA", "openstack.org/om/rpc/anycast/rx/topicA"},
		{"default notification exchange", exchanges, driver.Notification, openstack, "info",
			"unicast.openstack.topicA.info", "openstack.org/om/notify/anycast/nx/topicA.info"},
		{"an exchange beats the defaults", exchanges, driver.Call, driver.Target{Exchange: "x", Topic: "t"}, "",
			"unicast.x.t", "openstack.org/om/rpc/anycast/x/t"},
		{"an exchange beats the notification default", exchanges, driver.Notification, driver.Target{Exchange: "x", Topic: "t"}, "info",
			"unicast.x.t.info", "openstack.org/om/notify/anycast/x/t.info"},
		{"another core default", nova, driver.Call, driver.Target{Exchange: "nova", Topic: "t"}, "", "unicast.nova.t", "openstack.org/om/rpc/anycast/rx/t"},
		{"openstack is not the default then", nova, driver.Call, openstack, "", "unicast.openstack.topicA", "openstack.org/om/rpc/anycast/openstack/topicA"},
		{"no default at all", none, driver.Call, driver.Target{Topic: "t"}, "", "unicast.t", "openstack.org/om/rpc/anycast/openstack/t"},

		// Names are put in as they are.
		{"spaces", with(nil), driver.Call, driver.Target{Exchange: "my exchange", Topic: " t ", Server: "a b"}, "",
			"exclusive.my exchange. t .a b", "openstack.org/om/rpc/unicast/my exchange/ t /a b"},
		{"slashes and dots", with(nil), driver.Call, driver.Target{Exchange: "a/b", Topic: "c.d", Server: "/e."}, "",
			"exclusive.a/b.c.d./e.", "openstack.org/om/rpc/unicast/a/b/c.d//e."},
		{"characters", with(nil), driver.Cast, driver.Target{Exchange: "é", Topic: "日本\U0001f600", Fanout: true}, "",
			"broadcast.é.日本\U0001f600.all", "openstack.org/om/rpc/multicast/é/日本\U0001f600"},
		{"signs of patterns and URLs", with(nil), driver.Call, driver.Target{Exchange: "%2F*#", Topic: "?;&=@:"}, "",
			"unicast.%2F*#.?;&=@:", "openstack.org/om/rpc/anycast/%2F*#/?;&=@:"},
	} {
		m := &driver.Message{Kind: c.kind, Target: c.target, Priority: c.priority}
		for mode, want := range map[Mode]string{Legacy: c.legacy, Routable: c.routable} {
			opts := c.opts
			opts.Mode = mode
			if got := opts.For("any").Message(m); got != want {
				t.Errorf("%s, %s: %q, want %q", c.name, mode, got, want)
			}
		}
	}
}

func TestSource(t *testing.T) {
	server := driver.Source{Kind: driver.SourceServer, Target: driver.Target{Exchange: "openstack", Topic: "topicA", Server: "host1"}}
	events := driver.Source{Kind: driver.SourceNotifications, Notifications: []driver.NotificationTopic{
		{Exchange: "openstack", Topic: "notifs", Priority: "info"},
		{Exchange: "nova", Topic: "notifs", Priority: "info"},
		{Exchange: "", Topic: "notifs", Priority: "info"}, // the first again
		{Exchange: "openstack", Topic: "notifs", Priority: "error"},
	}}
	vhost := with(func(o *Options) { o.VirtualHost = "vh1" })
	for _, c := range []struct {
		name string
		opts Options
		mode Mode
		src  driver.Source
		want []string
	}{
		{"server", with(nil), Legacy, server, []string{"exclusive.openstack.topicA.host1", "broadcast.openstack.topicA.all", "unicast.openstack.topicA"}},
		{"server", vhost, Routable, server, []string{
			"openstack.org/om/rpc/unicast/vh1/openstack/topicA/host1",
			"openstack.org/om/rpc/multicast/vh1/openstack/topicA",
			"openstack.org/om/rpc/anycast/vh1/openstack/topicA",
		}},
		{"notifications", with(nil), Legacy, events, []string{"unicast.openstack.notifs.info", "unicast.nova.notifs.info", "unicast.openstack.notifs.error"}},
		{"notifications", vhost, Routable, events, []string{
			"openstack.org/om/notify/anycast/vh1/openstack/notifs.info",
			"openstack.org/om/notify/anycast/vh1/nova/notifs.info",
			"openstack.org/om/notify/anycast/vh1/openstack/notifs.error",
		}},
		{"replies", with(nil), Legacy, driver.Source{Kind: driver.SourceReplies, ReplyName: "r"}, nil},
	} {
		opts := c.opts
		opts.Mode = c.mode
		if got := opts.For("").Source(c.src); !slices.Equal(got, c.want) {
			t.Errorf("%s, %s:\n%q, want\n%q", c.name, c.mode, got, c.want)
		}
	}
}

// Every address that a server listens to is one that a message to it has.
func TestSourcesMeetMessages(t *testing.T) {
	target := driver.Target{Exchange: "e/x", Topic: "to.pic", Server: "s"}
	for _, mode := range []Mode{Legacy, Routable} {
		r := with(func(o *Options) { o.Mode, o.VirtualHost = mode, "v" }).For("")
		src := r.Source(driver.Source{Kind: driver.SourceServer, Target: target})
		one, all, topic := target, target, target
		all.Server, all.Fanout, topic.Server = "", true, ""
		for i, to := range []driver.Target{one, all, topic} {
			if got := r.Message(&driver.Message{Kind: driver.Call, Target: to}); got != src[i] {
				t.Errorf("%s: a message to %+v goes to %q and the server listens at %q", mode, to, got, src[i])
			}
		}
	}
}

func TestMode(t *testing.T) {
	for _, c := range []struct {
		mode    Mode
		product string
		want    Mode
		why     string
	}{
		{Dynamic, "", Legacy, "does not tell"},
		{Dynamic, "qpid-cpp", Legacy, "qpid-cpp"},
		{Dynamic, "qpid-dispatch-router", Routable, "qpid-dispatch-router"},
		{Dynamic, "skupper-router", Routable, "skupper-router"},
		{Dynamic, "apache-activemq-artemis", Routable, "artemis"},
		{Dynamic, "something", Routable, "something"},
		{Dynamic, "QPID-CPP", Routable, "QPID-CPP"}, // upstream compares exactly
		{Dynamic, "Apache Qpid Broker-J Core", Legacy, "Broker-J"},
		{Dynamic, "RabbitMQ", Legacy, "RabbitMQ"},
		{Legacy, "qpid-dispatch-router", Legacy, "addressing_mode"},
		{Routable, "Apache Qpid Broker-J Core", Routable, "addressing_mode"},
		{Routable, "", Routable, "addressing_mode"},
		{"", "qpid-cpp", Legacy, "qpid-cpp"},
	} {
		r := Options{Mode: c.mode}.For(c.product)
		if r.Mode != c.want || !strings.Contains(r.Why, c.why) {
			t.Errorf("%s at %q: %s because %s; want %s", c.mode, c.product, r.Mode, r.Why, c.want)
		}
	}
	if why := (Options{}).For("a\n\x00" + strings.Repeat("é", 1000)).Why; len(why) > 300 || strings.ContainsAny(why, "\n\x00") {
		t.Errorf("the reason repeats what the peer calls itself: %q", why)
	}
}

func TestCapabilities(t *testing.T) {
	queue, topic := []string{"queue"}, []string{"topic"}
	makeQueue, makeTopic := []string{"create-on-demand", "queue"}, []string{"create-on-demand", "topic"}
	for _, c := range []struct {
		product      string
		termini      Termini
		queue, topic []string
	}{
		{"apache-activemq-artemis", TerminiAuto, queue, topic},
		{"apache-activemq-artemis", TerminiNone, nil, nil},
		{"qpid-cpp", TerminiAuto, makeQueue, makeTopic},
		{"qpid-cpp", TerminiNone, nil, nil},
		{"Apache Qpid Broker-J Core", TerminiAuto, nil, nil},
		{"RabbitMQ", TerminiAuto, nil, nil},
		{"qpid-dispatch-router", TerminiAuto, nil, nil},
		{"", TerminiAuto, nil, nil},
	} {
		for _, mode := range []Mode{Legacy, Routable} {
			r := with(func(o *Options) { o.Mode, o.Termini = mode, c.termini }).For(c.product)
			for node, want := range map[Node][]string{Unicast: c.queue, Anycast: c.queue, Reply: c.queue, Multicast: c.topic} {
				if got := r.Capabilities(node); !slices.Equal(got, want) {
					t.Errorf("%s, %s, %s: node %d has %q, want %q", c.product, c.termini, mode, node, got, want)
				}
			}
		}
	}
}

func TestNodeOf(t *testing.T) {
	server, fanout := driver.Target{Topic: "t", Server: "s"}, driver.Target{Topic: "t", Fanout: true}
	for _, c := range []struct {
		m    driver.Message
		want Node
	}{
		{driver.Message{Kind: driver.Call, Target: driver.Target{Topic: "t"}}, Anycast},
		{driver.Message{Kind: driver.Call, Target: server}, Unicast},
		{driver.Message{Kind: driver.Cast, Target: fanout}, Multicast},
		{driver.Message{Kind: driver.Notification, Target: server}, Anycast},
		{driver.Message{Kind: driver.Reply, ReplyTo: "r"}, Reply},
		{driver.Message{Kind: driver.Heartbeat, ReplyTo: "r"}, Reply},
	} {
		if got := NodeOf(&c.m); got != c.want {
			t.Errorf("a %s to %+v goes to node %d, want %d", c.m.Kind, c.m.Target, got, c.want)
		}
	}
}

func FuzzAddress(f *testing.F) {
	f.Add("openstack", "topicA", "host1", "vh1", "info", "qpid-cpp", true)
	f.Add("", "a/b", "", "", "", "RabbitMQ", false)
	f.Fuzz(func(t *testing.T, exchange, topic, server, vhost, priority, product string, fanout bool) {
		for _, mode := range []Mode{Legacy, Routable, Dynamic} {
			r := with(func(o *Options) { o.Mode, o.VirtualHost = mode, vhost }).For(product)
			target := driver.Target{Exchange: exchange, Topic: topic, Server: server}
			src := r.Source(driver.Source{Kind: driver.SourceServer, Target: target})
			to := target
			to.Fanout = fanout
			got := r.Message(&driver.Message{Kind: driver.Cast, Target: to})
			if !slices.Contains(src, got) {
				t.Fatalf("a message goes to %q and its server listens at %q", got, src)
			}
			event := r.Message(&driver.Message{Kind: driver.Notification, Target: target, Priority: priority})
			events := r.Source(driver.Source{Kind: driver.SourceNotifications, Notifications: []driver.NotificationTopic{
				{Exchange: exchange, Topic: topic, Priority: priority},
			}})
			if len(events) != 1 || events[0] != event {
				t.Fatalf("an event goes to %q and its listener listens at %q", event, events)
			}
			for _, a := range append(src, event) {
				if a == "" {
					t.Fatal("an empty address, which stands for a dynamic or anonymous node")
				}
			}
		}
	})
}

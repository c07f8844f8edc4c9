// SPDX-License-Identifier: Apache-2.0

package main

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/internal/tlspeer"
	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/qpid/internal/address"
)

// settingsOf are those of options, with a user in the URL.
func settingsOf(options map[string]string) (*settings, error) {
	values, err := driver.ValidateOptions(optionSpecs(), options)
	if err != nil {
		return nil, err
	}
	return newSettings(driver.Config{
		Hosts: []driver.Host{{Name: "h", User: "u", Password: "p"}}, VirtualHost: "vh", HasVirtualHost: true, Options: values,
	})
}

// TestUpstreamsOptions: the whole group, with upstream's defaults.
func TestUpstreamsOptions(t *testing.T) {
	upstream := map[string]string{
		"container_name": "", "idle_timeout": "0", "trace": "false", "ssl": "false", "ssl_ca_file": "", "ssl_cert_file": "", "ssl_key_file": "",
		"ssl_key_password": "", "ssl_verify_vhost": "false", "sasl_mechanisms": "", "sasl_config_dir": "", "sasl_config_name": "",
		"sasl_default_realm": "", "connection_retry_interval": "1", "connection_retry_backoff": "2", "connection_retry_interval_max": "30",
		"link_retry_delay": "10", "default_reply_retry": "0", "default_reply_timeout": "30", "default_send_timeout": "30",
		"default_notify_timeout": "30", "default_sender_link_timeout": "600", "addressing_mode": "dynamic", "pseudo_vhost": "true",
		"server_request_prefix": "exclusive", "broadcast_prefix": "broadcast", "group_request_prefix": "unicast",
		"rpc_address_prefix": "openstack.org/om/rpc", "notify_address_prefix": "openstack.org/om/notify",
		"multicast_address": "multicast", "unicast_address": "unicast", "anycast_address": "anycast",
		"default_notification_exchange": "", "default_rpc_exchange": "",
		"reply_link_credit": "200", "rpc_server_credit": "100", "notify_server_credit": "100", "pre_settled": "rpc-cast,rpc-reply",
	}
	own := map[string]string{"sasl_allow_insecure": "false", "reliable_casts": "false", "terminus_capabilities": "auto"}
	want := maps.Clone(upstream)
	maps.Copy(want, own)
	got := map[string]string{}
	for _, s := range optionSpecs() {
		got[s.Name] = s.Default
		if s.Help == "" || s.Secret != (s.Name == tlspeer.OptKeyPassword) {
			t.Errorf("%s: help %q, secret %t", s.Name, s.Help, s.Secret)
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	// What upstream writes is understood, and its least values are.
	for name, value := range map[string]string{
		"trace": "Yes", "ssl": "0", "pseudo_vhost": "off", "link_retry_delay": "1", "default_reply_timeout": "5", "default_reply_retry": "-1",
		"connection_retry_backoff": "0", "reply_link_credit": "1", "pre_settled": "rpc-call, notify",
	} {
		if _, err := settingsOf(map[string]string{name: value}); err != nil {
			t.Errorf("%s=%s: %v", name, value, err)
		}
	}
}

func TestOptionsBecomeSettings(t *testing.T) {
	s, err := settingsOf(map[string]string{
		"container_name": "me", "idle_timeout": "20", "trace": "true", "connection_retry_interval": "3", "connection_retry_backoff": "4",
		"connection_retry_interval_max": "50", "link_retry_delay": "6", "default_reply_retry": "7", "default_reply_timeout": "8",
		"default_send_timeout": "9", "default_notify_timeout": "10", "default_sender_link_timeout": "11", "reply_link_credit": "12",
		"rpc_server_credit": "13", "notify_server_credit": "14", "addressing_mode": "routable", "server_request_prefix": "a",
		"broadcast_prefix": "b", "group_request_prefix": "c", "rpc_address_prefix": "d", "notify_address_prefix": "e",
		"multicast_address": "f", "unicast_address": "g", "anycast_address": "h", "default_notification_exchange": "i",
		"default_rpc_exchange": "j", "terminus_capabilities": "none",
	})
	if err != nil {
		t.Fatal(err)
	}
	addresses := address.Options{
		Mode: address.Routable, VirtualHost: "vh", ServerRequestPrefix: "a", BroadcastPrefix: "b", GroupRequestPrefix: "c",
		RPCAddressPrefix: "d", NotifyAddressPrefix: "e", MulticastAddress: "f", UnicastAddress: "g", AnycastAddress: "h",
		DefaultExchange: address.DefaultExchange, DefaultNotificationExchange: "i", DefaultRPCExchange: "j", Termini: address.TerminiNone,
	}
	if s.addresses != addresses {
		t.Errorf("addresses %+v", s.addresses)
	}
	if s.container != "me" || s.hostname != "" || !s.trace || s.tls != nil || s.retryBackoff != 4 || s.replyRetry != 7 ||
		s.replyCredit != 12 || s.rpcCredit != 13 || s.notifyCredit != 14 {
		t.Errorf("got %+v", s)
	}
	times := []time.Duration{s.idleTimeout, s.retryInterval, s.intervalMax, s.linkRetryDelay, s.replyTimeout, s.sendTimeout, s.notifyTimeout, s.senderLinkTimeout}
	for i, want := range []float64{20, 3, 50, 6, 8, 9, 10, 11} {
		if times[i].Seconds() != want {
			t.Errorf("time %d is %s, want %gs", i, times[i], want)
		}
	}
	s, err = settingsOf(map[string]string{"pseudo_vhost": "false"})
	if err != nil || s.hostname != "vh" || s.addresses.VirtualHost != "" {
		t.Errorf("hostname %q, %v", s.hostname, err)
	}
}

func TestPreSettled(t *testing.T) {
	for _, tt := range []struct {
		options map[string]string
		want    []driver.Kind
	}{
		{nil, []driver.Kind{driver.Cast, driver.Reply}},
		{map[string]string{"pre_settled": ""}, nil},
		{map[string]string{"pre_settled": "rpc-reply"}, []driver.Kind{driver.Reply}},
		{map[string]string{"pre_settled": "rpc-call notify, rpc-cast"}, []driver.Kind{driver.Call, driver.Cast, driver.Notification}},
		{map[string]string{"reliable_casts": "true"}, []driver.Kind{driver.Reply}},
	} {
		s, err := settingsOf(tt.options)
		if err != nil {
			t.Fatal(err)
		}
		if got := slices.Sorted(maps.Keys(s.preSettled)); !slices.Equal(got, tt.want) {
			t.Errorf("%v: %v, want %v", tt.options, got, tt.want)
		}
	}
}

func TestOptionsAreRefused(t *testing.T) {
	files := peertest.NewAuthority(t, "ca").Issue(peertest.Issued{Name: "c"})
	for _, tt := range []struct {
		options map[string]string
		want    string
	}{
		{map[string]string{"sasl_mechanism": "PLAIN"}, `did you mean "sasl_mechanisms"?`},
		{map[string]string{"addressing_mod": "legacy"}, `did you mean "addressing_mode"?`},
		{map[string]string{"addressing_mode": "other"}, "one of legacy, routable, dynamic"},
		{map[string]string{"link_retry_delay": "0"}, "at least 0.05 seconds"},
		{map[string]string{"reply_link_credit": "0"}, "from 1"},
		{map[string]string{"pre_settled": "rpc-calls"}, `did you mean "rpc-call"?`},
		{map[string]string{"pre_settled": "everything-there-is"}, "it takes notify, rpc-call, rpc-cast, rpc-reply"},
		{map[string]string{"sasl_config_dir": "/etc/sasl2"}, "does not use Cyrus SASL"},
		{map[string]string{"sasl_config_name": "qpid"}, "does not use Cyrus SASL"},
		{map[string]string{"sasl_mechanisms": "gssapi scram-sha-256"}, "has none of them; it has PLAIN, ANONYMOUS, EXTERNAL"},
		{map[string]string{"sasl_mechanisms": "EXTERNAL"}, "needs a client certificate"},
		{map[string]string{"ssl_verify_vhost": "true", "ssl": "true", "pseudo_vhost": "x"}, "true or false"},
		{map[string]string{"ssl_ca_file": "/nowhere.pem"}, "ssl_ca_file"},
		{map[string]string{"ssl_cert_file": files.Key, "ssl_key_file": files.Key}, "ssl_cert_file and ssl_key_file"},
		{map[string]string{"ssl": "true", "ssl_key_file": files.Key}, "ssl_cert_file is not"},
	} {
		_, err := settingsOf(tt.options)
		e := driver.AsError(err)
		if e == nil || e.Reason != driver.ReasonConfig || !strings.Contains(e.Error(), tt.want) {
			t.Errorf("%v: got %v, want %q", tt.options, err, tt.want)
		}
	}
	values, err := driver.ValidateOptions(optionSpecs(), map[string]string{"sasl_mechanisms": "plain"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newSettings(driver.Config{Options: values}); err == nil || !strings.Contains(err.Error(), "needs a user, and the URL has none for localhost:5672") {
		t.Errorf("PLAIN without a user: %v", err)
	}
	if _, err := newSettings(driver.Config{Variant: "x", Options: values}); err == nil || !strings.Contains(err.Error(), "no variant") {
		t.Errorf("a variant: %v", err)
	}
}

// TestBackoff: upstream's rule, but for a wait that is never nothing.
func TestBackoff(t *testing.T) {
	for _, tt := range []struct {
		interval, longest time.Duration
		factor            int
		want              []time.Duration // for the passes, before chance takes up to a quarter
	}{
		{time.Second, 30 * time.Second, 2, []time.Duration{1e9, 2e9, 4e9, 8e9, 16e9, 30e9, 30e9}},
		{time.Second, 30 * time.Second, 0, []time.Duration{1e9, 1e9, 1e9}},
		{time.Second, 30 * time.Second, 1, []time.Duration{1e9, 1e9, 1e9}},
		{40 * time.Second, 30 * time.Second, 2, []time.Duration{30e9, 30e9}},
		{time.Second, 1 << 62, 1 << 40, []time.Duration{1e9, 1 << 62, 1 << 62}},
	} {
		s := &settings{retryInterval: tt.interval, intervalMax: tt.longest, retryBackoff: tt.factor}
		for n, want := range tt.want {
			seen := map[time.Duration]bool{}
			for range 50 {
				d := s.backoff(n)
				if d > want || d < want-want/4 {
					t.Fatalf("%+v: pass %d waits %s, want %s", tt, n, d, want)
				}
				seen[d] = true
			}
			if len(seen) < 10 {
				t.Errorf("%+v: pass %d is the same each time", tt, n)
			}
		}
		if d := s.backoff(1 << 40); d < min(tt.interval, tt.longest)/2 {
			t.Errorf("after many failures the wait is %s", d)
		}
	}
}

// TestHostOrder: it begins anywhere, and goes on in the order of the URL.
func TestHostOrder(t *testing.T) {
	hosts := []driver.Host{{Name: "a"}, {Name: "b"}, {Name: "c"}}
	first := map[string]bool{}
	for range 200 {
		o := newHostOrder(hosts)
		var got strings.Builder
		for range 6 {
			got.WriteString(o.Next().Name)
		}
		order := "abcabc"
		start := max(0, strings.Index(order, got.String()[:1]))
		if want := order[start:] + order[:start]; got.String() != want {
			t.Fatalf("the order is %q", got.String())
		}
		first[got.String()[:1]] = true
	}
	if len(first) != 3 {
		t.Errorf("it begins with %v only", first)
	}
}

// TestDefaultExchange: where the application's own default exchange stands for none, the options
// for targets that name none take its place, in routable addresses.
func TestDefaultExchange(t *testing.T) {
	values, err := driver.ValidateOptions(optionSpecs(), map[string]string{"addressing_mode": "routable", "default_rpc_exchange": "rx", "pseudo_vhost": "false"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ app, target, want string }{
		{"", "openstack", "rx"},
		{"", "nova", "nova"},
		{"nova", "nova", "rx"},
		{"nova", "openstack", "openstack"},
	} {
		s, err := newSettings(driver.Config{DefaultExchange: tt.app, Options: values})
		if err != nil {
			t.Fatal(err)
		}
		got := s.addresses.For("").Message(&driver.Message{Kind: driver.Call, Target: driver.Target{Exchange: tt.target, Topic: "t"}})
		if want := "openstack.org/om/rpc/anycast/" + tt.want + "/t"; got != want {
			t.Errorf("default %q, target %q: got %s, want %s", tt.app, tt.target, got, want)
		}
	}
}

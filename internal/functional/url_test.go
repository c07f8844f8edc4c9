// SPDX-License-Identifier: Apache-2.0

package functional

import (
	"context"
	"crypto/rand"
	"errors"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/plugin/driver"
)

// at is a host as a URL has it; a password is set when it is not empty.
func at(name string, port int, user, password string) driver.Host {
	return driver.Host{
		Name: name, Port: port, User: user, HasUser: user != "",
		Password: driver.Secret(password), HasPassword: password != "",
	}
}

// TestParseURL is TestParseURL in oslo_messaging/tests/test_urls.py, by its names.
func TestParseURL(t *testing.T) {
	for _, tc := range []struct {
		name, raw, vhost string
		hosts            []driver.Host
	}{
		{"transport", "foo:", "", nil},
		{"virtual_host_slash", "foo:////", "/", nil},
		{"virtual_host", "foo:///bar", "bar", nil},
		{"host", "foo://host/bar", "bar", []driver.Host{at("host", 0, "", "")}},
		{"ipv6_host", "foo://[ffff::1]/bar", "bar", []driver.Host{at("ffff::1", 0, "", "")}},
		{"port", "foo://host:1234/bar", "bar", []driver.Host{at("host", 1234, "", "")}},
		{"ipv6_port", "foo://[ffff::1]:1234/bar", "bar", []driver.Host{at("ffff::1", 1234, "", "")}},
		{"username", "foo://u@host:1234/bar", "bar", []driver.Host{at("host", 1234, "u", "")}},
		{"password", "foo://u:p@host:1234/bar", "bar", []driver.Host{at("host", 1234, "u", "p")}},
		{"creds_no_host", "foo://u:p@/bar", "bar", []driver.Host{at("", 0, "u", "p")}},
		{"multi_host", "foo://u:p@host1:1234,host2:4321/bar", "bar", []driver.Host{at("host1", 1234, "u", "p"), at("host2", 4321, "", "")}},
		{"multi_host_partial_creds", "foo://u:p@host1,host2/bar", "bar", []driver.Host{at("host1", 0, "u", "p"), at("host2", 0, "", "")}},
		{"multi_creds", "foo://u1:p1@host1:1234,u2:p2@host2:4321/bar", "bar", []driver.Host{at("host1", 1234, "u1", "p1"), at("host2", 4321, "u2", "p2")}},
		{"multi_creds_ipv6", "foo://u1:p1@[ffff::1]:1234,u2:p2@[ffff::2]:4321/bar", "bar", []driver.Host{at("ffff::1", 1234, "u1", "p1"), at("ffff::2", 4321, "u2", "p2")}},
		{"quoting", "foo://u%24:p%26@host:1234/%24", "$", []driver.Host{at("host", 1234, "u$", "p&")}},
	} {
		u, err := messaging.ParseURL(tc.raw, nil)
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if u.Driver != "foo" || u.VirtualHost != tc.vhost || u.HasVirtualHost != (tc.vhost != "") || !reflect.DeepEqual(u.Hosts, tc.hosts) {
			t.Errorf("%s: %#v", tc.name, *u)
		}
	}
}

// TestFormatURL is TestFormatURL in oslo_messaging/tests/test_urls.py; passwords are not shown.
func TestFormatURL(t *testing.T) {
	for _, tc := range []struct {
		name string
		u    messaging.URL
		want string
	}{
		{"transport", messaging.URL{Driver: "testtransport", HasVirtualHost: true}, "testtransport:///"},
		{"virtual_host", messaging.URL{Driver: "testtransport", VirtualHost: "/vhost", HasVirtualHost: true}, "testtransport:////vhost"},
		{"host", messaging.URL{Driver: "testtransport", VirtualHost: "/", HasVirtualHost: true, Hosts: []driver.Host{at("host", 10, "bob", "secret")}}, "testtransport://bob:***@host:10//"},
		{
			"multi_host", messaging.URL{Driver: "testtransport", HasVirtualHost: true, Hosts: []driver.Host{at("h1", 1000, "b1", "s1"), at("h2", 2000, "b2", "s2")}},
			"testtransport://b1:***@h1:1000,b2:***@h2:2000/",
		},
		{"quoting", messaging.URL{Driver: "testtransport", VirtualHost: "/$", HasVirtualHost: true, Hosts: []driver.Host{at("host", 10, "b$", "s&")}}, "testtransport://b%24:***@host:10//%24"},
	} {
		if got := tc.u.String(); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

// TestURLQuery is TestTransportUrlCustomisation.test_query in oslo_messaging/tests/test_transport.py.
func TestURLQuery(t *testing.T) {
	for raw, want := range map[string]map[string]string{
		"fake:/vhost1/localhost:5672/?x=1&y=2&z=3":       {"x": "1", "y": "2", "z": "3"},
		"fake:/vhost2/localhost:5672/?foo=bar":           {"foo": "bar"},
		"fake:/vhost1/localhost:5672/?l=1&l=2&l=3":       {"l": "1,2,3"},
		"fake:/vhost2/localhost:5672/?d=x:1&d=y:2&d=z:3": {"d": "x:1,y:2,z:3"},
		"fake://noport/?":                                {},
	} {
		u, err := messaging.ParseURL(raw, nil)
		if err != nil || !reflect.DeepEqual(u.Query, want) {
			t.Errorf("%s: %v, %v", raw, u, err)
		}
	}
}

// TestOpenSadPath is GetTransportSadPathTestCase in oslo_messaging/tests/test_transport.py.
func TestOpenSadPath(t *testing.T) {
	w := newWorld(t, "", "")
	for raw, want := range map[string]error{
		"invalid":                          messaging.ErrInvalidURL,
		"testbackend:/":                    messaging.ErrConfig,
		"fake:///?no_such_option=1":        messaging.ErrConfig, // test_not_in_group of test_config_opts_proxy.py
		"fake:///?queue_limit=not_a_count": messaging.ErrConfig, // test_invalid_value of the same
	} {
		if tr, err := messaging.Open(soon(t), raw, &messaging.Options{Host: w.host}); !errors.Is(err, want) {
			t.Errorf("%s: %v, %v", raw, tr, err)
		}
	}
}

// TestEscapedNamesReachTheBroker: virtual hosts, users and passwords go through the URL to a
// real broker as they are. Upstream decodes a virtual host twice, and cannot connect with a
// password that has a slash.
func TestEscapedNamesReachTheBroker(t *testing.T) {
	bed.Wires(t, testbed.NeedLogin)
	broker := bed.Broker(t)
	escape := func(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
	mark := strings.ToLower(rand.Text()[:8])
	for _, tc := range []struct{ vhost, user, password, raw string }{
		{"/", "", "", ""},
		{mark + "/a", "", "", mark + "/a"},
		{mark + "%2Fa", "", "", ""},
		{mark + " é;#?&=+,@:", "", "", ""},
		{mark, "u@" + mark, "p/w", ""},
		{mark + "-1", "u:" + mark, "p%2Fw", ""},
		{mark + "-2", "u,%" + mark, "é@:,#?&=+ /%w", ""},
	} {
		t.Run(tc.vhost+" "+tc.user, func(t *testing.T) {
			if tc.vhost != "/" {
				if err := broker.AddVhost(soon(t), tc.vhost); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
					defer cancel()
					if err := broker.DeleteVhost(ctx, tc.vhost); err != nil {
						t.Error(err)
					}
				})
			}
			login := "guest:guest"
			if tc.user != "" {
				if err := errors.Join(broker.AddUser(soon(t), tc.user, tc.password), broker.Allow(soon(t), tc.user, tc.vhost)); err != nil {
					t.Fatal(err)
				}
				login = escape(tc.user) + ":" + escape(tc.password)
			}
			path := escape(tc.vhost)
			if tc.raw != "" {
				path = tc.raw
			}
			w := newWorld(t, "rabbit", "rabbit://"+login+"@"+broker.Addr()+"/"+path)
			tr := w.open(t, messaging.Options{})
			if got := tr.URL().VirtualHost; got != tc.vhost {
				t.Errorf("the virtual host is %q", got)
			}
			target := messaging.Target{Topic: "escape-" + mark, Server: "server"}
			serve(t, tr, target, nil, (&pings{}).endpoint())
			if err := client(tr, target).Call(soon(t), "alive", nil, nil); err != nil {
				t.Fatal(err)
			}
			newRawPeer(t, &world{vhost: tc.vhost}).passive("escape-" + mark) // it is in this virtual host
		})
	}
}

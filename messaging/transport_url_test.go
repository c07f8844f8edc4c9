// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"

	"github.com/parleymq/parley/plugin/driver"
)

func hostAt(name string, port int) driver.Host { return driver.Host{Name: name, Port: port} }

func login(h driver.Host, user, password string) driver.Host {
	h.User, h.HasUser = user, true
	h.Password, h.HasPassword = driver.Secret(password), true
	return h
}

func TestParseURL(t *testing.T) {
	tests := []struct {
		raw     string
		driver  string
		variant string
		hosts   []driver.Host
		vhost   string // "none" for none
		query   map[string]string
	}{
		{"foo:", "foo", "", nil, "none", nil},
		{"foo:////", "foo", "", nil, "/", nil},
		{"foo:///bar", "foo", "", nil, "bar", nil},
		{"foo:/bar", "foo", "", nil, "bar", nil},
		{"foo://u%24:p%26@host:1234/%24", "foo", "", []driver.Host{login(hostAt("host", 1234), "u$", "p&")}, "$", nil},
		{"foo://u:p@/bar", "foo", "", []driver.Host{login(hostAt("", 0), "u", "p")}, "bar", nil},
		{"rabbit://u:p:q@h/", "rabbit", "", []driver.Host{login(hostAt("h", 0), "u", "p:q")}, "", nil},
		{"rabbit://u:p%@h/v", "rabbit", "", []driver.Host{login(hostAt("h", 0), "u", "p%")}, "v", nil},
		{"rabbit://u@x:p@h/v", "rabbit", "", []driver.Host{login(hostAt("h", 0), "u@x", "p")}, "v", nil},
		{"rabbit://u:p%2Fq@h/", "rabbit", "", []driver.Host{login(hostAt("h", 0), "u", "p/q")}, "", nil},
		{"rabbit://u:a%252Fb@h/", "rabbit", "", []driver.Host{login(hostAt("h", 0), "u", "a%2Fb")}, "", nil},
		{"rabbit://u:@h", "rabbit", "", []driver.Host{login(hostAt("h", 0), "u", "")}, "none", nil},
		{"rabbit://u@h", "rabbit", "", []driver.Host{{Name: "h", User: "u", HasUser: true}}, "none", nil},
		{"rabbit://@h", "rabbit", "", []driver.Host{{Name: "h", HasUser: true}}, "none", nil},
		{"rabbit://", "rabbit", "", nil, "none", nil},
		{"rabbit://h", "rabbit", "", []driver.Host{hostAt("h", 0)}, "none", nil},
		{"rabbit://h/", "rabbit", "", []driver.Host{hostAt("h", 0)}, "", nil},
		{"rabbit://h//", "rabbit", "", []driver.Host{hostAt("h", 0)}, "/", nil},
		{"rabbit://h/%2F", "rabbit", "", []driver.Host{hostAt("h", 0)}, "/", nil},
		{"rabbit://h/%252F", "rabbit", "", []driver.Host{hostAt("h", 0)}, "%2F", nil},
		{"rabbit://h/a/b", "rabbit", "", []driver.Host{hostAt("h", 0)}, "a/b", nil},
		{"rabbit://h/v;x#frag", "rabbit", "", []driver.Host{hostAt("h", 0)}, "v;x", nil},
		{
			"rabbit://u:p@h1:5672,h2,,u2:p2@h3:1/v", "rabbit", "",
			[]driver.Host{login(hostAt("h1", 5672), "u", "p"), hostAt("h2", 0), login(hostAt("h3", 1), "u2", "p2")}, "v", nil,
		},
		{"rabbit://[::1]:5672/", "rabbit", "", []driver.Host{hostAt("::1", 5672)}, "", nil},
		{"rabbit://[::1]", "rabbit", "", []driver.Host{hostAt("::1", 0)}, "none", nil},
		{"rabbit://::1", "rabbit", "", []driver.Host{hostAt("::1", 0)}, "none", nil},
		{"rabbit://u:p@fe80::2/", "rabbit", "", []driver.Host{login(hostAt("fe80::2", 0), "u", "p")}, "", nil},
		{"rabbit+quorum://h", "rabbit", "quorum", []driver.Host{hostAt("h", 0)}, "none", nil},
		{"RABBIT://h", "rabbit", "", []driver.Host{hostAt("h", 0)}, "none", nil},
		{"kombu://h", "rabbit", "", []driver.Host{hostAt("h", 0)}, "none", nil},
		{"amqp://h", "amqp", "", []driver.Host{hostAt("h", 0)}, "none", nil}, // two wires have that name
		{"kombu+x://h", "rabbit", "x", []driver.Host{hostAt("h", 0)}, "none", nil},
		{"nova.openstack.common.rpc.impl_kombu://h", "rabbit", "", []driver.Host{hostAt("h", 0)}, "none", nil},
		{"nova.rpc.impl_zmq://", "zmq", "", nil, "none", nil},
		{"rabbit://h/?ssl=true&a=1&a=2&b=x+y%2B&c=", "rabbit", "", []driver.Host{hostAt("h", 0)}, "", map[string]string{"ssl": "true", "a": "1,2", "b": "x y+", "c": ""}},
		{"rabbit://h?a=1", "rabbit", "", []driver.Host{hostAt("h", 0)}, "none", map[string]string{"a": "1"}},
		{"rabbit://u:p@h?a=x@y", "rabbit", "", []driver.Host{login(hostAt("h", 0), "u", "p")}, "none", map[string]string{"a": "x@y"}},
		{"rabbit://h:1/?a=x@y", "rabbit", "", []driver.Host{hostAt("h", 1)}, "", map[string]string{"a": "x@y"}},
	}
	for _, tt := range tests {
		t.Run(tt.raw, func(t *testing.T) {
			u, err := ParseURL(tt.raw, nil)
			if err != nil {
				t.Fatal(err)
			}
			vhost := u.VirtualHost
			if !u.HasVirtualHost {
				vhost = "none"
			}
			if u.Driver != tt.driver || u.Variant != tt.variant || vhost != tt.vhost {
				t.Errorf("driver %q variant %q vhost %q", u.Driver, u.Variant, vhost)
			}
			if !reflect.DeepEqual(u.Hosts, tt.hosts) {
				t.Errorf("hosts %+v, want %+v", u.Hosts, tt.hosts)
			}
			if !maps.Equal(u.Query, tt.query) {
				t.Errorf("query %v, want %v", u.Query, tt.query)
			}
		})
	}
}

func TestParseURLRefuses(t *testing.T) {
	const secret = "hunter2"
	tests := []struct{ raw, want string }{
		{"", "no scheme"},
		{"localhost", "no scheme"},
		{"user:hunter2@host:5672/v", "no scheme"},
		{"hunter2", "no scheme"},
		{"1abc://h", "no scheme"},
		{"ra bbit://h", "no scheme"},
		{"//u:hunter2@h", "no scheme"},
		{"rabbit:u:hunter2@h", "no scheme"},
		{"rabbit+://h", "variant"},
		{"no_driver://h", "cannot be a driver"},
		{"rabbit://u:hunter2@h:abc/", "host 1: the port is not a number"},
		{"rabbit://u:hunter2@h:/", "the port"},
		{"rabbit://u:hunter2@h:0/", "the port"},
		{"rabbit://u:hunter2@h:99999/", "the port"},
		{"rabbit://u:hunter2@h:65536/", "the port"},
		{"rabbit://u:hunter2@h:+1/", "the port"},
		{"rabbit://ok,u:hunter2@h:-1/", "host 2: the port"},
		{"rabbit://u:hun,ter2@h/", "host 1: the port"},
		{"rabbit://u:hunter2/x@h/", "%2F"},
		{"rabbit://u:12/hunter2@h/", "%2F"},
		{"rabbit://u:12?hunter2@h/", "%3F"},
		{"rabbit://u:12#hunter2@h/", "%23"},
		{"rabbit://[::1/", "brackets"},
		{"rabbit://[hunter2]/", "brackets"},
		{"rabbit://[::1]x/", "brackets"},
		{"rabbit://[::1]:x/", "the port"},
		{"rabbit://[127.0.0.1]/", "brackets"},
		{"rabbit://u:hunter2:x:y/", "the port"},
		{"rabbit://hun ter2/", "host name"},
		{"rabbit://h/\n", "control"},
		{"rabbit://h/%00", "control"},
		{"rabbit://h/\xff", "UTF-8"},
		{"rabbit://h/?hunter2", "option 1 of the query"},
		{"rabbit://h/?a=1&=hunter2", "option 2 of the query"},
		{"rabbit://h/?a=%0A", "control"},
		{"rabbit://h/" + strings.Repeat("v", 256), "virtual host is longer"},
		{"rabbit://" + strings.Repeat("h", maxURL), "longer"},
		{strings.Repeat("r", 129) + "://h", "scheme is longer"},
		{"rabbit://" + strings.Repeat("h,", 257), "more than 256 hosts"},
	}
	for _, tt := range tests {
		_, err := ParseURL(tt.raw, nil)
		if !errors.Is(err, ErrInvalidURL) {
			t.Errorf("%.80q: %v", tt.raw, err)
			continue
		}
		text := fmt.Sprintf("%v %+v %#v", err, err, errors.Unwrap(err))
		if !strings.Contains(text, tt.want) || strings.Contains(text, secret) || strings.Contains(text, "hun ter2") {
			t.Errorf("%.80q: %s, want %q", tt.raw, text, tt.want)
		}
	}
}

func TestAliases(t *testing.T) {
	tests := []struct {
		name    string
		scheme  string
		aliases map[string]string
		want    string // driver+variant, or part of the error after "!"
	}{
		{"the application's come first", "kombu", map[string]string{"kombu": "qpid"}, "qpid"},
		{"they may chain", "a", map[string]string{"a": "b", "b": "kombu"}, "rabbit"},
		{"they ignore case", "OLD", map[string]string{"Old": "Rabbit"}, "rabbit"},
		{"the whole scheme comes first", "zmq+redis", map[string]string{"zmq+redis": "qpid", "zmq": "rabbit"}, "qpid"},
		{"then the part before the plus", "zmq+redis", map[string]string{"zmq": "rabbit"}, "rabbit+redis"},
		{"a name of itself shields it", "kombu", map[string]string{"kombu": "kombu"}, "kombu"},
		{"amqp is what the application says", "amqp", map[string]string{"amqp": "qpid"}, "qpid"},
		{"cycle", "a", map[string]string{"a": "b", "b": "c", "c": "a"}, "!a -> b -> c -> a"},
		{"path", "a", map[string]string{"a": "/usr/bin/x"}, "!never a path"},
		{"relative path", "a", map[string]string{"a": "../x"}, "!never a path"},
		{"empty", "a", map[string]string{"a": ""}, "!never a path"},
		{"unused ones are checked too", "rabbit", map[string]string{"a": "b c"}, "!never a path"},
		{"not a scheme", "rabbit", map[string]string{"a b": "rabbit"}, "!cannot be the scheme"},
		{"not a driver", "a", map[string]string{"a": "no.driver"}, "!cannot be a driver"},
		{"variant in an alias", "a", map[string]string{"a": "rabbit+x"}, "!cannot be a driver"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u, err := ParseURL(tt.scheme+"://h", tt.aliases)
			if wanted, fails := strings.CutPrefix(tt.want, "!"); fails {
				if !errors.Is(err, ErrInvalidURL) || !strings.Contains(err.Error(), wanted) {
					t.Fatalf("error %v, want %q", err, wanted)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.TrimSuffix(u.Driver+"+"+u.Variant, "+"); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if u.Scheme != strings.ToLower(tt.scheme) {
				t.Errorf("scheme %q", u.Scheme)
			}
		})
	}
}

func TestDeclaredAliasesComeLast(t *testing.T) {
	declared := map[string]string{"kombu": "other", "mine": "rabbit"}
	for scheme, want := range map[string]string{"kombu": "rabbit", "mine": "rabbit"} {
		u, err := parseURL(scheme+"://h", nil, LegacyAliases(), declared)
		if err != nil || u.Driver != want {
			t.Errorf("%s: %v %v", scheme, u, err)
		}
	}
}

func TestURLPrintsNoPassword(t *testing.T) {
	u, err := ParseURL("kombu+x://us%40er:hunter2@h1:1,[::1]:2,:@h3/v%24/%2F?ssl_key_password=hunter2&b=1%26&heartbeat=3", nil)
	if err != nil {
		t.Fatal(err)
	}
	const want = "rabbit+x://us%40er:***@h1:1,[::1]:2,:@h3/v%24//?b=1%26&heartbeat=3&ssl_key_password=***"
	if got := u.String(); got != want {
		t.Errorf("String:\n got %s\nwant %s", got, want)
	}
	inJSON, err := json.Marshal(map[string]any{"url": u, "value": *u})
	if err != nil {
		t.Fatal(err)
	}
	all := fmt.Sprintf("%v %+v %#v %s %q %v %+v %#v %s", u, u, u, u, u, *u, *u, *u, inJSON)
	if strings.Contains(all, "hunter2") {
		t.Errorf("password printed: %s", all)
	}
}

func FuzzParseURL(f *testing.F) {
	for _, s := range []string{
		"rabbit://u:p@h:1,[::1]:2/v?a=b#c", "foo:", "foo:////", "rabbit://u:p%@h/v", "nova.rpc.impl_zmq://", "a+b://::1", "rabbit://u:12/x@h",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := ParseURL(raw, nil)
		if err != nil {
			if !errors.Is(err, ErrInvalidURL) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		// What was printed parses to the same, but for the secrets.
		again, err := ParseURL(u.String(), map[string]string{u.Driver: u.Driver})
		if err != nil {
			t.Fatalf("%q printed as %q: %v", raw, u.String(), err)
		}
		if again.String() != u.String() || again.Driver != u.Driver || again.VirtualHost != u.VirtualHost ||
			again.HasVirtualHost != u.HasVirtualHost || len(again.Hosts) != len(u.Hosts) || len(again.Query) != len(u.Query) {
			t.Fatalf("%q: %q became %q", raw, u, again)
		}
	})
}

// SPDX-License-Identifier: Apache-2.0

package badinput

import (
	"testing"

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

// badURL is a URL that Open refuses, and what it says.
type badURL struct {
	name    string
	url     string
	aliases map[string]string
	want    error
	texts   []string
}

// check opens it. Nothing is left of that.
func (b *badURL) check(t *testing.T) {
	logs := testbed.NewLogs(t)
	tr, err := messaging.Open(within(t, patience), b.url, &messaging.Options{
		Host: bed.Host(logs), Aliases: b.aliases, Logger: logs.Logger(),
	})
	if err == nil {
		testbed.Close(t, tr)
	}
	mustSay(t, err, b.want, b.texts...)
	if left := bed.Left(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestURL opens URLs that name no driver to be had, or say it wrongly.
func TestURL(t *testing.T) {
	for _, tc := range []badURL{
		{name: "empty", url: "", want: messaging.ErrInvalidURL, texts: []string{"has no scheme", "rabbit://"}},
		{name: "without scheme", url: "guest@host:5672/vhost", want: messaging.ErrInvalidURL,
			texts: []string{"transport URL has no scheme", "write it as e.g. rabbit://user@host:5672/vhost"}},
		{name: "host and port alone", url: "localhost:5672", want: messaging.ErrInvalidURL, texts: []string{"transport URL has no scheme"}},
		{name: "unknown driver", url: "carrot://host/", want: messaging.ErrConfig,
			texts: []string{`no driver "carrot" found`, "looked in " + bed.Drivers + " (option)", "/usr/lib/parley/drivers (system", "drivers there: ", "rabbit", "put the program parley-driver-carrot", "PARLEY_DRIVER_PATH"}},
		{name: "misspelt driver", url: "rabit://host/", want: messaging.ErrConfig,
			texts: []string{`no driver "rabit" found`, `did you mean "rabbit"?`}},
		{name: "alias of an unknown driver", url: "old://host/", aliases: map[string]string{"old": "older"}, want: messaging.ErrConfig,
			texts: []string{`no driver "older" found`}},
		{name: "alias cycle", url: "a://host/", aliases: map[string]string{"a": "b", "b": "c", "c": "a"}, want: messaging.ErrInvalidURL,
			texts: []string{"the aliases go round in a circle: a -> b -> c -> a"}},
		{name: "alias to a path", url: "a://host/", aliases: map[string]string{"a": "/tmp/driver"}, want: messaging.ErrInvalidURL,
			texts: []string{`alias "a" points to "/tmp/driver"`, "an alias names a driver, never a path"}},
		{name: "port", url: "rabbit://host:56720000/", want: messaging.ErrInvalidURL, texts: []string{"host 1: the port is not a number from 1 to 65535"}},
		{name: "port of a seed", url: "zmq+seeds://host:0/", want: messaging.ErrInvalidURL, texts: []string{"host 1: the port is not a number from 1 to 65535"}},
		{name: "port of the second host", url: "qpid://host:5672,other:amqp/", want: messaging.ErrInvalidURL, texts: []string{"host 2: the port is not a number from 1 to 65535"}},
		{name: "directory behind the colon", url: "zmq:run/mesh", want: messaging.ErrInvalidURL, texts: []string{"transport URL has no scheme"}},
		{name: "misspelt zmq", url: "zeromq:///run/mesh", want: messaging.ErrConfig, texts: []string{`no driver "zeromq" found`, "drivers there: ", "zmq"}},
		{name: "misspelt qpid", url: "qipd://host/", want: messaging.ErrConfig, texts: []string{`no driver "qipd" found`, `did you mean "qpid"?`}},
		{name: "AMQP of nobody", url: "amqp://host/", want: messaging.ErrConfig, texts: []string{`no driver "amqp" found`}},
		{name: "IPv6", url: "rabbit://[::1/", want: messaging.ErrInvalidURL, texts: []string{"host 1: the address in brackets is not an IPv6 address"}},
		{name: "line break", url: "rabbit://host/\n", want: messaging.ErrInvalidURL, texts: []string{"control character", "line break"}},
	} {
		t.Run(tc.name, tc.check)
	}
}

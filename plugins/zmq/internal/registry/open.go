// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"crypto/tls"
	"log/slog"
	"slices"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// DefaultTTL is how long a record lives that nobody renews.
const DefaultTTL = 15 * time.Second

// The layouts of what is kept in Redis.
const (
	// LayoutParley is this package's own.
	LayoutParley = "parley"
	// LayoutOslo8 is the own one and, for a mixed fleet, that of oslo.messaging 8.x beside it.
	LayoutOslo8 = "oslo8"
)

// Options say what to discover nodes with. The zero value is the directory of this user.
type Options struct {
	// Variant is what the URL has after "zmq+": "" or "local", "static", "seeds", "redis" or
	// "sentinel".
	Variant string
	// Hosts are the seeds, the Redis servers (the first that answers is used) or the sentinels.
	// For "static" without a Path the first host's name is the name of the file.
	Hosts []driver.Host
	// Path is the directory of "local", the file of "static" or the group of "sentinel". HasPath
	// tells that the URL had one.
	Path    string
	HasPath bool
	// Namespace keeps those apart that share a store: nodes see only their own. It is the virtual
	// host, or "".
	Namespace string
	// TTL is how long a record lives that is not renewed; zero is DefaultTTL. It is renewed three
	// times as often.
	TTL time.Duration
	// Layout is that of Redis: LayoutParley, which is the default, or LayoutOslo8.
	Layout string
	// TLS is how Redis and its sentinels are spoken to, nil for plain TCP.
	TLS *tls.Config
	// SentinelPassword is for the sentinels themselves; that of the hosts is for Redis.
	SentinelPassword driver.Secret
	// Insecure also takes records from a directory that other users of the machine wrote.
	Insecure bool
	// Logger gets what is worth a person's time; nil is slog.Default.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.TTL <= 0 {
		o.TTL = DefaultTTL
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Layout == "" {
		o.Layout = LayoutParley
	}
	return o
}

// Open starts the discovery that o asks for. It waits for nothing that is remote: what is away
// shows in Health. Every error is a *driver.Error with driver.ReasonConfig.
func Open(o Options) (Registry, error) {
	o = o.withDefaults()
	if o.TTL < minTTL {
		return nil, driver.Errorf(driver.ReasonConfig, "records of nodes are to live %v", o.TTL).
			WithHint("at least %v is needed to renew them in time", minTTL)
	}
	switch o.Variant {
	case "", "local":
		return newDir(o)
	case "static":
		return newStatic(o)
	case "seeds":
		return newSeeds(o)
	case "redis", "sentinel":
		return newRedis(o)
	default:
		return nil, CheckVariant(o.Variant)
	}
}

// CheckVariant returns nil for a way of discovery that there is.
func CheckVariant(variant string) error {
	known := []string{"local", "static", "seeds", "redis", "sentinel"}
	if variant == "" || slices.Contains(known, variant) {
		return nil
	}
	e := driver.Errorf(driver.ReasonConfig, "zmq has no variant %q", variant)
	if near := driver.Nearest(variant, known); near != "" {
		return e.WithHint("did you mean zmq+%s?", near)
	}
	return e.WithHint("known: zmq (or zmq+local), zmq+static, zmq+seeds, zmq+redis, zmq+sentinel")
}

// minTTL leaves a node time for three renewals.
const minTTL = 300 * time.Millisecond

// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"context"
	"slices"
	"sync"

	"github.com/parleymq/parley/internal/version"
	"github.com/parleymq/parley/plugin/driver"
)

// The names of the options.
const (
	optQueueLimit   = "queue_limit"
	optReplyTTL     = "reply_ttl"
	optMessageLimit = "message_limit"
)

// Driver is a broker in memory. Conns of one Driver that name the same virtual host meet;
// two Drivers know nothing of each other.
type Driver struct {
	direct  bool // see NewDirect
	dynamic bool // see NewDynamic

	mu     sync.Mutex
	vhosts map[string]*vhost // guarded by mu; kept as long as the Driver
}

// New returns a Driver with nothing in it.
func New() *Driver {
	return &Driver{vhosts: make(map[string]*vhost)}
}

// Describe implements driver.Driver.
func (d *Driver) Describe() driver.Info {
	info := driver.Info{
		Name:    "fake",
		Version: version.Number,
		Summary: "messages in the memory of one driver process, for tests",
		// CapShared is missing on purpose: two applications start two processes, and those
		// do not meet.
		Capabilities: []driver.Capability{
			driver.CapRPC, driver.CapFanout, driver.CapScopedFanout, driver.CapMandatory, driver.CapStableReplies,
			driver.CapExpiry, driver.CapRequeue, driver.CapNotifications, driver.CapPools,
			driver.CapHeaders,
		},
		Options: []driver.OptionSpec{{
			Name: optQueueLimit, Type: driver.OptionInt, Default: "10000", Min: driver.Bound(0),
			Help: "messages a queue holds before senders wait; 0 for no limit",
		}, {
			Name: optReplyTTL, Type: driver.OptionSeconds, Default: "1800", Min: driver.Bound(0),
			Help: "seconds a reply queue is kept without a listener; 0 keeps it for ever",
		}, {
			Name: optMessageLimit, Type: driver.OptionInt, Default: "0", Min: driver.Bound(0),
			Help: "largest message taken, in bytes; 0 for no limit",
		}},
	}
	if d.dynamic {
		info.Capabilities = slices.DeleteFunc(info.Capabilities, func(c driver.Capability) bool { return c == driver.CapStableReplies })
	}
	if d.direct {
		info.Capabilities = append(info.Capabilities, driver.CapDirect, driver.CapAckOnReceipt)
	} else {
		info.Capabilities = append(info.Capabilities, driver.CapQueues)
	}
	return info
}

// Open implements driver.Driver. There is nothing to connect to: the Conn is ready at once.
// Hosts, users and passwords of the URL are accepted and mean nothing.
func (d *Driver) Open(ctx context.Context, cfg driver.Config) (driver.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// The core validates already; a test that links the driver in may not.
	options, err := driver.ValidateOptions(d.Describe().Options, cfg.Options)
	if err != nil {
		return nil, err
	}
	c := newConn(d.vhost(cfg.VirtualHost), options)
	c.direct, c.dynamic = d.direct, d.dynamic
	if cfg.Report != nil {
		cfg.Report(driver.State{Phase: driver.Ready})
	}
	return c, nil
}

func (d *Driver) vhost(name string) *vhost {
	d.mu.Lock()
	defer d.mu.Unlock()
	v, ok := d.vhosts[name]
	if !ok {
		v = newVhost()
		d.vhosts[name] = v
	}
	return v
}

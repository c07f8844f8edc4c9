// SPDX-License-Identifier: Apache-2.0

package address

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/parleymq/parley/plugin/driver"
)

// goldenCase is what upstream's addressers made of some targets with some options.
type goldenCase struct {
	Name    string
	Options struct {
		Server    string `json:"legacy_server_prefix"`
		Broadcast string `json:"legacy_broadcast_prefix"`
		Group     string `json:"legacy_group_prefix"`
		RPC       string `json:"rpc_prefix"`
		Notify    string `json:"notify_prefix"`
		Multicast string
		Unicast   string
		Anycast   string
		NotifyEx  string `json:"notify_exchange"`
		RPCEx     string `json:"rpc_exchange"`
		Default   string `json:"default_exchange"`
		VHost     string
		Mode      Mode
		Product   string
	}
	Rows []struct {
		Target      driver.Target
		RPC, Notify string
	}
	Server []string
}

func (c *goldenCase) options() Options {
	o := c.Options
	return Options{
		Mode: o.Mode, VirtualHost: o.VHost,
		ServerRequestPrefix: o.Server, BroadcastPrefix: o.Broadcast, GroupRequestPrefix: o.Group,
		RPCAddressPrefix: o.RPC, NotifyAddressPrefix: o.Notify,
		MulticastAddress: o.Multicast, UnicastAddress: o.Unicast, AnycastAddress: o.Anycast,
		DefaultExchange: o.Default, DefaultRPCExchange: o.RPCEx, DefaultNotificationExchange: o.NotifyEx,
	}
}

// The file holds what AddresserFactory and RPCServer of oslo.messaging 14.9.3 answered
// (oslo_messaging/_drivers/amqp1_driver): 5 sets of options, 6 modes and products, 11 targets with
// names of all sorts, each for RPC and for notifications.
func TestGolden(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "oslo-14.9.3.json"))
	if err != nil {
		t.Fatal(err)
	}
	var cases []goldenCase
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	rows := 0
	for _, c := range cases {
		r := c.options().For(c.Options.Product)
		// The core fills the default in before a driver sees the target.
		for _, filled := range []bool{false, true} {
			fill := func(to driver.Target) driver.Target {
				if filled && to.Exchange == "" {
					to.Exchange = c.Options.Default
				}
				return to
			}
			for _, row := range c.Rows {
				rows++
				to := fill(row.Target)
				if got := r.Message(&driver.Message{Kind: driver.Call, Target: to}); got != row.RPC {
					t.Errorf("%s, %s at %q: %+v is %q for RPC, upstream has %q", c.Name, c.Options.Mode, c.Options.Product, to, got, row.RPC)
				}
				if got := r.Message(&driver.Message{Kind: driver.Notification, Target: to, Priority: "info"}); got != row.Notify {
					t.Errorf("%s, %s at %q: %+v is %q for notifications, upstream has %q", c.Name, c.Options.Mode, c.Options.Product, to, got, row.Notify)
				}
			}
			src := driver.Source{Kind: driver.SourceServer, Target: fill(driver.Target{Topic: "topicA", Server: "host1"})}
			if got := r.Source(src); !slices.Equal(got, c.Server) {
				t.Errorf("%s, %s at %q: a server listens at %q, upstream's at %q", c.Name, c.Options.Mode, c.Options.Product, got, c.Server)
			}
		}
	}
	if rows != 5*6*11*2 {
		t.Errorf("%d targets were compared", rows)
	}
}

// SPDX-License-Identifier: Apache-2.0

package functional

import (
	"errors"
	"testing"

	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/messaging/messagingtest"
	"github.com/parleymq/parley/plugin/driver"
)

// The cases of TestVersionCap and TestCanSendVersion in oslo_messaging/tests/rpc/test_client.py
// and of VersionIsCompatibleTestCase in oslo_messaging/tests/test_utils.py.

func TestVersionCap(t *testing.T) {
	for _, tc := range []struct {
		name         string
		cap, version string
		options      []messaging.CallOption
		want         string // sent; "!" for none
	}{
		{"all_none", "", "", nil, ""},
		{"ctor_cap_ok", "1.1", "1.0", nil, "1.0"},
		{"ctor_cap_override_ok", "2.0", "1.0", []messaging.CallOption{messaging.VersionCap("1.1"), messaging.Version("1.0")}, "1.0"},
		{"ctor_cap_override_none_ok", "1.1", "1.0", []messaging.CallOption{messaging.VersionCap("")}, "1.0"},
		{"ctor_cap_minor_fail", "1.0", "1.1", nil, "!"},
		{"ctor_cap_major_fail", "2.0", "", []messaging.CallOption{messaging.Version("1.0")}, "!"},
		{"ctor_cap_none_version_ok", "", "1.0", nil, "1.0"},
		{"ctor_cap_version_none_fail", "1.0", "", nil, "!"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			broker := messagingtest.NewBroker()
			tr := broker.Transport(t, quiet())
			serve(t, tr, messaging.Target{Topic: "t", Server: "s"}, nil, (&pings{}).endpoint())
			c := messaging.NewRPCClient(tr, messaging.Target{Topic: "t", Version: tc.version}, &messaging.RPCClientOptions{VersionCap: tc.cap}).With(tc.options...)
			if got := c.CanSend(""); got != (tc.want != "!") {
				t.Errorf("CanSend is %t", got)
			}
			for kind, err := range map[driver.Kind]error{
				driver.Call: c.Call(soon(t), "alive", nil, nil),
				driver.Cast: c.Cast(soon(t), "alive", nil),
			} {
				if tc.want == "!" {
					if !errors.Is(err, messaging.ErrVersionCap) {
						t.Errorf("%s: %v", kind, err)
					}
					continue
				}
				if sent := broker.Expect(t, messagingtest.Match{Kind: kind}); err != nil || sent.Version != tc.want {
					t.Errorf("%s: version %q, %v", kind, sent.Version, err)
				}
			}
		})
	}
}

// TestCanSendVersion has the three cases in which upstream asks for a version by name; the other
// eight are those of TestVersionCap. Asking for none is asking for the target's here.
func TestCanSendVersion(t *testing.T) {
	tr := messagingtest.NewTransport(t)
	capped := messaging.NewRPCClient(tr, messaging.Target{Topic: "t", Version: "1.0"}, &messaging.RPCClientOptions{VersionCap: "1.1"})
	for _, tc := range []struct {
		name, version string
		c             *messaging.RPCClient
		want          bool
	}{
		{"ctor_cap_can_send_ok", "1.1", capped.With(messaging.VersionCap("")), true},
		{"ctor_cap_can_send_none_ok", "", capped.With(messaging.VersionCap("")), true},
		{"ctor_cap_version_can_send_none_fail", "", capped.With(messaging.Version("")), false},
		{"above", "1.2", capped, false},
	} {
		if got := tc.c.CanSend(tc.version); got != tc.want {
			t.Errorf("%s: %t", tc.name, got)
		}
		if again := tc.c.With(); again.CanSend(tc.version) != tc.want {
			t.Errorf("%s, derived: %t", tc.name, !tc.want)
		}
	}
}

// TestInvalidVersion is test_invalid_version_type, and a fourth part, which upstream ignores.
func TestInvalidVersion(t *testing.T) {
	c := messaging.NewRPCClient(messagingtest.NewTransport(t), messaging.Target{Topic: "t"}, nil)
	for _, version := range []string{"5", "5.a", "5.5.a", "5.5.5.5"} {
		if err := c.With(messaging.Version(version)).Cast(t.Context(), "m", nil); !errors.Is(err, messaging.ErrInvalidTarget) {
			t.Errorf("version %s: %v", version, err)
		}
	}
}

// TestVersionIsCompatible has upstream's ten cases by their names.
func TestVersionIsCompatible(t *testing.T) {
	for _, tc := range []struct {
		name, implemented, requested string
		want                         bool
	}{
		{"same", "1.23", "1.23", true},
		{"newer_minor", "1.24", "1.23", true},
		{"older_minor", "1.22", "1.23", false},
		{"major_difference1", "2.23", "1.23", false},
		{"major_difference2", "1.23", "2.23", false},
		{"newer_rev", "1.23", "1.23.1", false},
		{"newer_rev_both", "1.23.1", "1.23.2", false},
		{"older_rev_both", "1.23.2", "1.23.1", true},
		{"older_rev", "1.24", "1.23.1", true},
		{"no_rev_is_zero", "1.23.0", "1.23", true},
	} {
		if got := messaging.Compatible(tc.implemented, tc.requested); got != tc.want {
			t.Errorf("%s: %t", tc.name, got)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package functional

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/messaging/messagingtest"
	"github.com/parleymq/parley/plugin/driver"
)

// The cases of oslo_messaging/tests/test_target.py and of TestCastToTarget, TestCallFanout,
// TestVersionCap and TestCanSendVersion in oslo_messaging/tests/rpc/test_client.py. They are
// about what is handed to a driver, so that the one in memory is enough.

// field is one field of a target, with what sets it: in the target and in a derived client.
type field struct {
	name   string
	set    func(*messaging.Target, string)
	option func(string) messaging.CallOption
}

func fields() []field {
	return []field{
		{"exchange", func(t *messaging.Target, v string) { t.Exchange = v }, messaging.Exchange},
		{"topic", func(t *messaging.Target, v string) { t.Topic = v }, messaging.Topic},
		{"namespace", func(t *messaging.Target, v string) { t.Namespace = v }, messaging.Namespace},
		{"version", func(t *messaging.Target, v string) { t.Version = v }, messaging.Version},
		{"server", func(t *messaging.Target, v string) { t.Server = v }, messaging.Server},
		{"fanout", func(t *messaging.Target, v string) { t.Fanout = v != "" }, func(v string) messaging.CallOption {
			if v == "" {
				return messaging.Server("") // it undoes Fanout
			}
			return messaging.Fanout()
		}},
	}
}

func (f field) in(t messaging.Target, value string) messaging.Target {
	f.set(&t, value)
	return t
}

// TestTargetValues is TargetConstructorTestCase, TargetReprTestCase and EqualityTestCase: a
// target is a value, an empty field is one that is not set, and its text names the others.
func TestTargetValues(t *testing.T) {
	for _, f := range fields() {
		for _, a := range []string{"", "foo", "bar"} {
			one := f.in(messaging.Target{}, a)
			for _, b := range []string{"", "foo", "bar"} {
				other := f.in(messaging.Target{}, b)
				same := a == b || f.name == "fanout" && a != "" && b != ""
				if (one == other) != same {
					t.Errorf("%s %q and %q: equal is %t", f.name, a, b, one == other)
				}
			}
			if text := one.String(); strings.Contains(text, f.name) != (a != "") {
				t.Errorf("%s %q: %s", f.name, a, text)
			}
		}
	}
	if got := (messaging.Target{Exchange: "testexchange", Fanout: true}).String(); got != "<exchange=testexchange fanout=true>" {
		t.Error(got)
	}
}

// arrived is a sent message as a target.
func arrived(m messagingtest.Sent) messaging.Target {
	return messaging.Target{
		Exchange: m.Target.Exchange, Topic: m.Target.Topic, Server: m.Target.Server, Fanout: m.Target.Fanout,
		Namespace: m.Namespace, Version: m.Version,
	}
}

// TestCastToTarget is TestCastToTarget (25 cases, each prepared once and twice) and
// TargetCallableTestCase: what With sets wins, what it clears is cleared, the rest stays.
func TestCastToTarget(t *testing.T) {
	values := map[string][2]string{"version": {"1.0", "1.1"}, "fanout": {"yes", "yes"}}
	for _, f := range fields() {
		ctor, prepared := "ctor", "test"
		if v, ok := values[f.name]; ok {
			ctor, prepared = v[0], v[1]
		}
		for _, tc := range []struct {
			name    string
			ctor    string
			options []messaging.CallOption
			want    string
		}{
			{"all_none", "", nil, ""},
			{"ctor", prepared, nil, prepared},
			{"prepare", "", []messaging.CallOption{f.option(prepared)}, prepared},
			{"prepare_none", prepared, []messaging.CallOption{f.option("")}, ""},
			{"both", ctor, []messaging.CallOption{f.option(prepared)}, prepared},
		} {
			for _, times := range []int{1, 2} {
				t.Run(fmt.Sprint(tc.name, "_", f.name, "_", times), func(t *testing.T) {
					broker := messagingtest.NewBroker()
					base := messaging.Target{Exchange: "e", Topic: "t"}
					c := messaging.NewRPCClient(broker.Transport(t, quiet()), f.in(base, tc.ctor), nil)
					for range times {
						c = c.With(tc.options...)
					}
					want := f.in(base, tc.want)
					if c.Target() != want {
						t.Errorf("the target is %v, want %v", c.Target(), want)
					}
					err := c.Cast(t.Context(), "foo", nil)
					if want.Topic == "" {
						if !errors.Is(err, messaging.ErrInvalidTarget) {
							t.Errorf("without a topic: %v", err)
						}
						return
					}
					if err != nil {
						t.Fatal(err)
					}
					want.Exchange = cmp.Or(want.Exchange, messaging.DefaultExchange)
					if got := arrived(broker.Expect(t, messagingtest.Match{Kind: driver.Cast})); got != want {
						t.Errorf("sent to %v, want %v", got, want)
					}
				})
			}
		}
	}
}

// TestCastCall is TestCastCall: what is sent, with and without arguments and context.
func TestCastCall(t *testing.T) {
	for _, mandatory := range []bool{false, true} {
		for _, call := range []bool{false, true} {
			for args, given := range map[string]map[string]any{`{}`: nil, `{"bar":"blaa","foobar":11.01}`: {"bar": "blaa", "foobar": 11.01}} {
				broker := messagingtest.NewBroker()
				tr := broker.Transport(t, quiet())
				ep := messaging.NewEndpoint(nil)
				who := make(chan any, 1)
				ep.HandleFunc("foo", func(ctx context.Context, _ map[string]any) (any, error) {
					rc, _ := messaging.RequestContextFrom(ctx)
					who <- rc["user"]
					return nil, nil
				})
				serve(t, tr, messaging.Target{Topic: "t", Server: "s"}, nil, ep)
				c := messaging.NewRPCClient(tr, messaging.Target{Topic: "t"}, &messaging.RPCClientOptions{Mandatory: mandatory})
				ctx, wantUser := soon(t), any(nil)
				if given != nil {
					wantUser = "testuser"
					ctx = messaging.WithRequestContext(ctx, messaging.RequestContext{"user": wantUser})
				}
				kind, send := driver.Cast, func() error { return c.Cast(ctx, "foo", given) }
				if call {
					kind, send = driver.Call, func() error { return c.Call(ctx, "foo", given, nil) }
				}
				if err := send(); err != nil {
					t.Fatal(err)
				}
				if sent := broker.Expect(t, messagingtest.Match{Kind: kind, Method: "foo"}); string(sent.Args) != args {
					t.Errorf("arguments %s, want %s", sent.Args, args)
				}
				if user := <-who; user != wantUser {
					t.Errorf("the context has %v", user)
				}
			}
		}
	}
}

// TestCallFanout: a call has one answer, however the fanout came into its target.
func TestCallFanout(t *testing.T) {
	tr := messagingtest.NewTransport(t)
	for name, c := range map[string]*messaging.RPCClient{
		"target":  messaging.NewRPCClient(tr, messaging.Target{Topic: "t", Fanout: true}, nil),
		"prepare": messaging.NewRPCClient(tr, messaging.Target{Topic: "t"}, nil).With(messaging.Fanout()),
		"both":    messaging.NewRPCClient(tr, messaging.Target{Topic: "t", Fanout: true}, nil).With(messaging.Fanout()),
	} {
		if err := c.Call(t.Context(), "foo", nil, nil); !errors.Is(err, messaging.ErrInvalidTarget) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

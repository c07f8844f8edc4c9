// SPDX-License-Identifier: Apache-2.0

package functional

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/parleymq/parley/messaging"
)

// dispatch is one case of TestDispatcher in oslo_messaging/tests/rpc/test_dispatcher.py.
type dispatch struct {
	name      string
	endpoints []messaging.EndpointOptions
	exposed   []string // besides which there is nothing; default foo and bar
	method    string
	namespace string
	version   string
	args      map[string]any
	user      string // in the request context
	want      string // endpoint, method, arguments and user; empty with err
	err       error
}

// dispatches are upstream's cases by their names. Upstream's access policies are one here: what
// is registered is exposed, and a name that begins with an underscore cannot be registered.
func dispatches() []dispatch {
	null := []messaging.EndpointOptions{{}}
	testns := []messaging.EndpointOptions{{}, {Namespace: "testns"}}
	legacy := []messaging.EndpointOptions{{Namespace: "testns", LegacyNamespaces: []string{"second", ""}}}
	return []dispatch{
		{name: "no_endpoints", method: "foo", err: messaging.ErrUnsupportedVersion},
		{name: "default_target", endpoints: null, method: "foo", want: "0 foo map[] "},
		{name: "default_target_ctxt_and_args", endpoints: null, method: "bar", args: map[string]any{"blaa": true}, user: "bob", want: "0 bar map[blaa:true] bob"},
		{name: "default_target_namespace", endpoints: null, method: "foo", namespace: "", want: "0 foo map[] "},
		{name: "default_target_version", endpoints: null, method: "foo", version: "1.0", want: "0 foo map[] "},
		{name: "default_target_no_such_method", endpoints: null, method: "foobar", err: messaging.ErrNoSuchMethod},
		{name: "namespace", endpoints: testns, method: "foo", namespace: "testns", want: "1 foo map[] "},
		{name: "namespace_mismatch", endpoints: testns, method: "foo", namespace: "nstest", err: messaging.ErrUnsupportedVersion},
		{name: "version", endpoints: []messaging.EndpointOptions{{Version: "1.5"}, {Version: "3.4"}}, method: "foo", version: "3.2", want: "1 foo map[] "},
		{name: "version_mismatch", endpoints: []messaging.EndpointOptions{{Version: "1.5"}, {Version: "3.0"}}, method: "foo", version: "3.2", err: messaging.ErrUnsupportedVersion},
		{
			name: "message_in_null_namespace_with_multiple_namespaces", method: "foo", want: "0 foo map[] ",
			endpoints: []messaging.EndpointOptions{{Namespace: "testns", LegacyNamespaces: []string{""}}},
		},
		{name: "message_in_wrong_namespace_with_multiple_namespaces", endpoints: legacy, method: "foo", namespace: "wrong", err: messaging.ErrUnsupportedVersion},
		{name: "message_with_endpoint_no_private_and_public_method", endpoints: legacy, method: "foo", namespace: "testns", want: "0 foo map[] "},
		{name: "message_with_endpoint_no_private_and_private_method", endpoints: legacy, method: "_foobar", namespace: "testns", err: messaging.ErrNoSuchMethod},
		{name: "message_with_endpoint_explicitly_exposed_without_exposed_method", endpoints: legacy, exposed: []string{"bar"}, method: "foo", namespace: "testns", err: messaging.ErrNoSuchMethod},
		{name: "message_with_endpoint_explicitly_exposed_with_exposed_method", endpoints: legacy, exposed: []string{"bar"}, method: "bar", namespace: "testns", want: "0 bar map[] "},
		// Not upstream's: the first endpoint in order wins, and one without the method is passed over.
		{name: "first_of_two", endpoints: []messaging.EndpointOptions{{Version: "1.5"}, {}}, method: "foo", want: "0 foo map[] "},
		{name: "legacy_namespace", endpoints: legacy, method: "foo", namespace: "second", want: "0 foo map[] "},
	}
}

// made returns the endpoints of a case, whose methods tell who was reached and with what.
func (d *dispatch) made() []*messaging.Endpoint {
	exposed := d.exposed
	if exposed == nil {
		exposed = []string{"foo", "bar"}
	}
	endpoints := make([]*messaging.Endpoint, 0, len(d.endpoints))
	for i, o := range d.endpoints {
		ep := messaging.NewEndpoint(&o)
		for _, name := range exposed {
			ep.HandleFunc(name, func(ctx context.Context, args map[string]any) (any, error) {
				rc, _ := messaging.RequestContextFrom(ctx)
				user, _ := rc["user"].(string)
				return fmt.Sprint(i, " ", name, " ", args, " ", user), nil
			})
		}
		endpoints = append(endpoints, ep)
	}
	return endpoints
}

func TestDispatcher(t *testing.T) {
	onWires(t, func(t *testing.T, w *world) {
		tr := w.open(t, messaging.Options{})
		for _, tc := range dispatches() {
			t.Run(tc.name, func(t *testing.T) {
				serve(t, tr, messaging.Target{Topic: tc.name, Server: "server"}, nil, tc.made()...)
				c := client(tr, messaging.Target{Topic: tc.name, Namespace: tc.namespace, Version: tc.version})
				ctx := soon(t)
				if tc.user != "" {
					ctx = messaging.WithRequestContext(ctx, messaging.RequestContext{"user": tc.user})
				}
				var got string
				if err := c.Call(ctx, tc.method, tc.args, &got); !errors.Is(err, tc.err) || got != tc.want {
					t.Errorf("got %q, %v", got, err)
				}
			})
		}
	})
}

// TestDispatcherPing is TestDispatcherWithPingEndpoint, and that a server answers pings only
// when it was told to.
func TestDispatcherPing(t *testing.T) {
	own := messaging.NewEndpoint(nil)
	own.HandleFunc("oslo_rpc_server_ping", func(context.Context, map[string]any) (any, error) { return "not_pong", nil })
	onWires(t, func(t *testing.T, w *world) {
		tr := w.open(t, messaging.Options{})
		for _, tc := range []struct {
			name      string
			ping      bool
			endpoints []*messaging.Endpoint
			want      string
			err       error
		}{
			{"test_dispatcher_with_ping", true, nil, "pong", nil},
			{"test_dispatcher_with_ping_already_used", true, []*messaging.Endpoint{own}, "not_pong", nil},
			{"without", false, nil, "", messaging.ErrUnsupportedVersion},
		} {
			t.Run(tc.name, func(t *testing.T) {
				serve(t, tr, messaging.Target{Topic: tc.name, Server: "server"}, &messaging.RPCServerOptions{Ping: tc.ping}, tc.endpoints...)
				c := client(tr, messaging.Target{Topic: tc.name})
				var got string
				if err := c.Call(soon(t), "oslo_rpc_server_ping", nil, &got); !errors.Is(err, tc.err) || got != tc.want {
					t.Errorf("got %q, %v", got, err)
				}
				if err := c.Ping(soon(t)); !errors.Is(err, tc.err) {
					t.Errorf("Ping: %v", err)
				}
			})
		}
	})
}

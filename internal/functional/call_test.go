// SPDX-License-Identifier: Apache-2.0

package functional

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/plugin/driver"
)

// The cases of CallTestCase in oslo_messaging/tests/functional/test_functional.py.

func TestCallSpecificServer(t *testing.T) {
	onWires(t, func(t *testing.T, w *world) {
		g := startGroup(t, w.open(t, messaging.Options{}), messaging.Target{Topic: "group"})
		ctx, c := soon(t), g.one(1)
		for _, tc := range []struct{ text, want string }{{"open", "open"}, {"stack", "openstack"}} {
			if got, err := appendText.Call(ctx, c, textArgs{tc.text}); err != nil || got != tc.want {
				t.Errorf("append %s: %q, %v", tc.text, got, err)
			}
		}
		for _, tc := range []struct {
			method messaging.Method[incrementArgs, int]
			by     int
			want   int
		}{{add, 2, 2}, {add, 10, 12}, {subtract, 3, 9}} {
			if got, err := tc.method.Call(ctx, c, incrementArgs{tc.by}); err != nil || got != tc.want {
				t.Errorf("%s %d: %d, %v", tc.method.Name, tc.by, got, err)
			}
		}
		if sum, text := g.accounts[1].state(); sum != 9 || text != "openstack" {
			t.Errorf("server_1 has %d and %q", sum, text)
		}
		g.settled(t)
		g.untouched(t, 1)
	})
}

const letters, others = "abcdefghijklmn", "opqrstuvwxyz"

func (g *group) appendAll(t *testing.T, c *messaging.RPCClient, text string) {
	t.Helper()
	for _, letter := range text {
		if _, err := appendText.Call(soon(t), c, textArgs{string(letter)}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCallServerInGroup(t *testing.T) {
	onWires(t, func(t *testing.T, w *world) {
		g := startGroup(t, w.open(t, messaging.Options{}), messaging.Target{Topic: "group"})
		g.appendAll(t, g.any(), letters)
		g.spread(t, letters)
	})
}

// spread checks that each server got something, and all of them together exactly text.
func (g *group) spread(t *testing.T, text string) {
	t.Helper()
	texts := g.texts()
	for i, got := range texts {
		if got == "" {
			t.Errorf("server_%d got nothing", i)
		}
	}
	if err := distribution(text, texts...); err != nil {
		t.Error(err)
	}
}

// TestCallDifferentExchanges is test_different_exchanges, in which each group has a topic of its
// own.
func TestCallDifferentExchanges(t *testing.T) {
	onWires(t, func(t *testing.T, w *world) {
		tr := w.open(t, messaging.Options{})
		first := startGroup(t, tr, messaging.Target{Topic: "one"})
		second := startGroup(t, tr, messaging.Target{Topic: "two", Exchange: "a"})
		third := startGroup(t, tr, messaging.Target{Topic: "three", Exchange: "b"})
		first.appendAll(t, first.one(1), letters)
		second.appendAll(t, second.any(), others)
		if got := first.texts(); got[1] != letters {
			t.Errorf("server_1 of the default exchange got %q", got[1])
		}
		first.untouched(t, 1)
		second.spread(t, others)
		third.settled(t)
		third.untouched(t, -1)

		// The default exchange of another transport is the exchange of that name
		// (test_set_default_control_exchange in oslo_messaging/tests/test_transport.py).
		other := w.open(t, messaging.Options{DefaultExchange: "b"})
		if _, err := add.Call(soon(t), client(other, messaging.Target{Topic: "three", Server: "server_2"}), incrementArgs{5}); err != nil {
			t.Fatal(err)
		}
		if sum, _ := third.accounts[2].state(); sum != 5 {
			t.Errorf("server_2 of exchange b has %d", sum)
		}
	})
}

// TestCallOneTopicInExchanges has one topic in two exchanges, which upstream never tries. They are
// apart. On rabbit they are not, with upstream's servers neither: its wire names the queue by the
// topic alone (declare_topic_consumer in _drivers/impl_rabbit.py), so that one queue hears both
// exchanges. Nothing is lost or doubled even so.
func TestCallOneTopicInExchanges(t *testing.T) {
	onWires(t, func(t *testing.T, w *world) {
		tr := w.open(t, messaging.Options{})
		first := startGroup(t, tr, messaging.Target{Topic: "shared"})
		second := startGroup(t, tr, messaging.Target{Topic: "shared", Exchange: "a"})
		first.appendAll(t, first.any(), letters)
		second.appendAll(t, second.any(), others)
		if w.topicsCross() {
			if err := distribution(letters+others, append(first.texts(), second.texts()...)...); err != nil {
				t.Error(err)
			}
			return
		}
		first.spread(t, letters)
		second.spread(t, others)
	})
}

func TestCallTimeout(t *testing.T) {
	onWires(t, func(t *testing.T, w *world) {
		c := client(w.openReady(t), messaging.Target{Topic: "no_such_topic"})
		const timeout = 2 * time.Second // a busy machine takes a part of it to send the request
		start := time.Now()
		err := c.With(messaging.Timeout(timeout)).Call(t.Context(), "ping", nil, nil)
		w.mustReachNobody(t, err)
		if took := time.Since(start); took < timeout || took > timeout+late {
			t.Errorf("it took %v", took)
		}
	})
}

func TestCallException(t *testing.T) {
	onWires(t, func(t *testing.T, w *world) {
		g := startGroup(t, w.open(t, messaging.Options{}), messaging.Target{Topic: "group"})
		if _, err := add.Call(soon(t), g.one(1), incrementArgs{2}); err != nil {
			t.Fatal(err)
		}
		_, err := subtract.Call(soon(t), g.one(1), incrementArgs{3})
		remote, ok := errors.AsType[*messaging.RemoteError](err)
		if !errors.Is(err, errValue) || !ok || remote.Message != "2 is less than 3" {
			t.Errorf("got %v", err)
		}
	})
}

// TestCallTimeoutWithConcurrency is test_timeout_with_concurrently_queues: a call that times
// out takes nothing from the others of its transport.
func TestCallTimeoutWithConcurrency(t *testing.T) {
	onWires(t, func(t *testing.T, w *world) {
		tr := w.open(t, messaging.Options{})
		a := &account{name: "server"}
		serve(t, tr, messaging.Target{Topic: "group", Server: a.name}, nil, a.endpoint())
		c := client(tr, messaging.Target{Topic: "group", Server: a.name})
		var both sync.WaitGroup
		both.Go(func() {
			if _, err := longTask.Call(soon(t), c.With(messaging.Timeout(time.Second)), struct{}{}); !errors.Is(err, messaging.ErrNoReply) {
				t.Errorf("the long call: %v", err)
			}
		})
		both.Go(func() {
			for range 10 {
				if _, err := add.Call(soon(t), c, incrementArgs{1}); err != nil {
					t.Errorf("a short call: %v", err)
				}
			}
		})
		both.Wait()
		if sum, _ := a.state(); sum != 10 {
			t.Errorf("the server has %d", sum)
		}
	})
}

func TestCallMandatory(t *testing.T) {
	onWires(t, func(t *testing.T, w *world) {
		c := client(w.openReady(t), messaging.Target{Topic: "absent", Server: "server"})
		w.mustReachNobody(t, c.With(messaging.Timeout(300*time.Millisecond)).Call(t.Context(), "delay", nil, nil))
		mandatory := c.With(messaging.Mandatory(), messaging.Timeout(time.Minute))
		want := messaging.ErrUndeliverable
		if w.wire != nil && !w.wire.Has(driver.CapMandatory) {
			want = messaging.ErrUnsupported // rather than taken for what it is not
		}
		for name, request := range map[string]func() error{
			"call": func() error { return mandatory.Call(t.Context(), "delay", nil, nil) },
			"cast": func() error { return mandatory.Cast(t.Context(), "delay", nil) },
		} {
			start := time.Now()
			if err := request(); !errors.Is(err, want) || time.Since(start) > slack {
				t.Errorf("mandatory %s: %v after %v", name, err, time.Since(start))
			}
		}
	})
}

// TestCallEndpointVersionNamespace is test_endpoint_version_namespace.
func TestCallEndpointVersionNamespace(t *testing.T) {
	onWires(t, func(t *testing.T, w *world) {
		tr := w.open(t, messaging.Options{})
		ep := messaging.NewEndpoint(&messaging.EndpointOptions{Namespace: "Name1", Version: "7.5"})
		echo.Handle(ep, func(_ context.Context, a echoArgs) (string, error) { return a.Echo, nil })
		serve(t, tr, messaging.Target{Topic: "versions", Server: "server"}, nil, ep)
		c := client(tr, messaging.Target{Topic: "versions", Server: "server", Namespace: "Name1", Version: "7.5"})
		if got, err := echo.Call(soon(t), c, echoArgs{"Hi there"}); err != nil || got != "Hi there" {
			t.Errorf("got %q, %v", got, err)
		}
		for name, other := range map[string]*messaging.RPCClient{
			"newer version":   c.With(messaging.Version("7.6")),
			"other namespace": c.With(messaging.Namespace("Name2")),
		} {
			if _, err := echo.Call(soon(t), other, echoArgs{"no"}); !errors.Is(err, messaging.ErrUnsupportedVersion) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

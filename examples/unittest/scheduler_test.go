// SPDX-License-Identifier: Apache-2.0

package unittest

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/messaging/messagingtest"
	"github.com/parleymq/parley/plugin/driver"
)

// serveHost stands for a compute host until the test ends.
func serveHost(t *testing.T, broker *messagingtest.Broker) {
	t.Helper()
	ep := messaging.NewEndpoint(nil)
	newMethods().start.Handle(ep, func(context.Context, StartArgs) (string, error) { return "host1", nil })
	srv := messaging.NewRPCServer(broker.Transport(t, nil), messaging.Target{Topic: "compute", Server: "host1"}, nil, ep)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(t.Context()) }() // the test's context ends before its cleanups run
	<-srv.Ready()
	t.Cleanup(func() {
		if err := <-served; !errors.Is(err, messaging.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	})
}

// Client and server can be tested together.
func TestStart(t *testing.T) {
	broker := messagingtest.NewBroker()
	serveHost(t, broker)
	host, err := NewScheduler(broker.Transport(t, nil)).Start(t.Context(), "i-1")
	if host != "host1" || err != nil {
		t.Errorf("started on %q, %v", host, err)
	}
	broker.ExpectNone(t, messagingtest.Match{Method: "stop_instance"})
}

// Without a server one looks at what was sent.
func TestRefreshReachesAllHosts(t *testing.T) {
	broker := messagingtest.NewBroker()
	if err := NewScheduler(broker.Transport(t, nil)).Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	sent := broker.Expect(t, messagingtest.Match{Kind: driver.Cast, Topic: "compute", Method: "refresh_cache"})
	if !sent.Target.Fanout {
		t.Errorf("sent %s, which one host gets", sent)
	}
}

// Fail: the broker is away.
func TestStartWhileTheBrokerIsAway(t *testing.T) {
	broker := messagingtest.NewBroker()
	serveHost(t, broker)
	s := NewScheduler(broker.Transport(t, nil))
	broker.Fail(messagingtest.Match{Method: "start_instance"}, driver.Errorf(driver.ReasonNotConnected, "no broker"))
	if _, err := s.Start(t.Context(), "i-1"); !errors.Is(err, ErrTryLater) {
		t.Errorf("start: %v", err)
	}
	if host, err := s.Start(t.Context(), "i-1"); host != "host1" || err != nil {
		t.Errorf("later: started on %q, %v", host, err)
	}
}

// Drop: the host's answer is lost. In synctest the minute that the call waits takes no time.
func TestStartWhoseAnswerIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := messagingtest.NewBroker()
		serveHost(t, broker)
		s := NewScheduler(broker.Transport(t, nil))
		broker.Drop(messagingtest.Match{Kind: driver.Reply})
		if _, err := s.Start(t.Context(), "i-1"); !errors.Is(err, ErrUnknown) {
			t.Errorf("start: %v", err)
		}
		sent := broker.Expect(t, messagingtest.Match{Kind: driver.Cast, Method: "stop_instance"})
		if string(sent.Args) != `{"id":"i-1"}` {
			t.Errorf("stopped %s", sent.Args)
		}
	})
}

// InDoubt: the connection breaks at the wrong moment. A refresh may arrive twice, and must not
// be lost.
func TestRefreshInDoubt(t *testing.T) {
	for name, arrives := range map[string]bool{"it arrived": true, "it was lost": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				broker := messagingtest.NewBroker()
				broker.InDoubt(messagingtest.Match{Method: "refresh_cache"}, arrives)
				if err := NewScheduler(broker.Transport(t, nil)).Refresh(t.Context()); err != nil {
					t.Fatal(err)
				}
				if n := len(broker.Sent(messagingtest.Match{Method: "refresh_cache"})); n != 2 {
					t.Errorf("sent %d times, want 2", n)
				}
			})
		})
	}
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/parleymq/parley/internal/peertest"
)

// shared are the brokers that many tests use, which must not disturb each other: each has a virtual host
// or topics of its own. They are started by the first that asks.
var shared = struct {
	usual sharedBroker // as it should be
	bare  sharedBroker // without policies: it makes no nodes
}{
	usual: sharedBroker{start: peertest.UseBrokerJ},
	bare: sharedBroker{start: func(ctx context.Context) (*peertest.BrokerJ, error) {
		return peertest.StartBrokerJ(ctx, &peertest.BrokerJOptions{NoPolicies: true})
	}},
}

type sharedBroker struct {
	start func(context.Context) (*peertest.BrokerJ, error)

	mu     sync.Mutex
	broker *peertest.BrokerJ // guarded by mu
}

// use returns the address of the broker.
func (s *sharedBroker) use(t testing.TB) string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broker == nil {
		b, err := s.start(t.Context())
		if errors.Is(err, peertest.ErrMissing) && os.Getenv("PARLEY_TEST_OPTIONAL") == "1" {
			t.Skipf("NOT PROVEN: %s: %v", t.Name(), err)
		}
		if err != nil {
			t.Fatal(err)
		}
		s.broker = b
	}
	return s.broker.Addr()
}

func (s *sharedBroker) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broker == nil {
		return nil
	}
	return s.broker.Close()
}

// run runs the tests, and ends the brokers that they share.
type run struct{ *testing.M }

// Run implements goleak.TestingM.
func (r run) Run() int {
	code := r.M.Run()
	if err := errors.Join(shared.usual.close(), shared.bare.close()); err != nil {
		_, _ = os.Stderr.WriteString(err.Error() + "\n")
		return max(code, 1)
	}
	return code
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(run{m}) }

// SPDX-License-Identifier: Apache-2.0

package messagingtest

import (
	"context"
	"sync"
	"time"

	"github.com/parleymq/parley/internal/memory"
	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/plugin/driver"
)

// T is the part of testing.TB that this package needs; *testing.T and *testing.B are it.
type T interface {
	Helper()
	Cleanup(func())
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// patience bounds what the package waits for by itself.
const patience = 10 * time.Second

// Broker is a broker in memory. Transports made of one Broker meet. It may be used by any
// number of goroutines.
type Broker struct {
	driver *memory.Driver

	mu     sync.Mutex
	sent   []Sent        // guarded by mu
	more   chan struct{} // guarded by mu; closed and replaced when sent grows
	faults []fault       // guarded by mu; those that wait for their message
}

// NewBroker returns a broker that nothing was sent to.
func NewBroker() *Broker {
	return &Broker{driver: memory.New(), more: make(chan struct{})}
}

// NewTransport returns a transport on a broker of its own, closed at the end of the test.
func NewTransport(t T) *messaging.Transport {
	t.Helper()
	return NewBroker().Transport(t, nil)
}

// Transport returns a transport that is closed at the end of the test.
func (b *Broker) Transport(t T, opts *messaging.Options) *messaging.Transport {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tr, err := b.Open(ctx, opts)
	if err != nil {
		t.Fatalf("open a transport: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := tr.Close(ctx); err != nil {
			t.Errorf("close the transport: %v", err)
		}
	})
	return tr
}

// Open returns a transport that the caller closes: for examples and for tests of closing.
func (b *Broker) Open(ctx context.Context, opts *messaging.Options) (*messaging.Transport, error) {
	return messaging.OpenDriver(ctx, &recording{Driver: b.driver, broker: b}, driver.Config{Driver: "fake"}, opts)
}

// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/internal/testprogram"
	"github.com/parleymq/parley/messaging"
)

const (
	setupTimeout = 5 * time.Minute // builds from nothing, on a busy machine
	closeTimeout = time.Minute
)

// Bed is what a test program shares between its tests.
type Bed struct {
	// Drivers is the directory of the drivers, Runtime the one of their sockets.
	Drivers string
	Runtime string
	// Bin is the directory of the other programs.
	Bin string
	// Also names the wires that are set up besides rabbit. It is set before Main.
	Also []string

	top        string
	broker     *peertest.RabbitMQ
	brokerErr  error
	brokerJ    *peertest.BrokerJ // of the wire qpid
	brokerJErr error
	ready      []*Wire
}

// Programs are what Main builds: import paths below the module by the name of the file.
type Programs map[string]string

// Main builds the drivers of the wires and the programs, starts or finds a RabbitMQ node, runs the
// tests and takes everything down. It returns the exit code, which is not zero either when a
// goroutine is left.
func (b *Bed) Main(m *testing.M, programs Programs) int {
	if err := b.setUp(programs); err != nil {
		fmt.Fprintln(os.Stderr, "testbed:", err)
		return 1
	}
	code := m.Run()
	if err := b.tearDown(); err != nil {
		fmt.Fprintln(os.Stderr, "testbed:", err)
		code = 1
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, "testbed:", err)
			code = 1
		}
	}
	return code
}

// lockFileVariable says where the checksums of drivers are recorded.
const lockFileVariable = "PARLEY_LOCK_FILE"

func (b *Bed) setUp(programs Programs) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), setupTimeout)
	defer cancel()
	// Short, for a socket's address has little room.
	if b.top, err = os.MkdirTemp("/tmp", "pb"); err != nil {
		return err
	}
	b.Drivers, b.Runtime, b.Bin = filepath.Join(b.top, "drivers"), filepath.Join(b.top, "run"), filepath.Join(b.top, "bin")
	for _, dir := range []string{b.Drivers, b.Runtime, b.Bin} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
	}
	// Drivers that are built for one run are no business of the user's lock file.
	if os.Getenv(lockFileVariable) == "" {
		if err := os.Setenv(lockFileVariable, filepath.Join(b.top, "parley.lock")); err != nil {
			return err
		}
	}
	var starting sync.WaitGroup
	starting.Go(func() { b.broker, b.brokerErr = peertest.UseRabbitMQ(ctx) })
	err = b.setUpWires(ctx)
	for name, path := range programs {
		err = errors.Join(err, Build(ctx, filepath.Join(b.Bin, name), path))
	}
	starting.Wait()
	if err != nil {
		return errors.Join(err, b.tearDown())
	}
	return nil
}

func (b *Bed) tearDown() error {
	var err error
	if b.broker != nil {
		err = b.broker.Close()
	}
	if b.brokerJ != nil {
		err = errors.Join(err, b.brokerJ.Close())
	}
	return errors.Join(err, os.RemoveAll(b.top))
}

// Build compiles one program of the module, with the race detector if the tests have it.
func Build(ctx context.Context, file, path string) error {
	if raceEnabled {
		return testprogram.Build(ctx, file, path, "-race")
	}
	return testprogram.Build(ctx, file, path)
}

// Broker returns the shared RabbitMQ node. Tests keep to vhosts of their own.
func (b *Bed) Broker(tb testing.TB) *peertest.RabbitMQ {
	tb.Helper()
	require(tb, b.brokerErr)
	return b.broker
}

// startBrokerJ starts or finds the Broker-J of the wire qpid.
func (b *Bed) startBrokerJ(ctx context.Context) {
	b.brokerJ, b.brokerJErr = peertest.UseBrokerJ(ctx)
}

// BrokerJ returns the shared Broker-J of the wire qpid. Tests keep to virtual hosts of their own,
// which are a part of their addresses.
func (b *Bed) BrokerJ(tb testing.TB) *peertest.BrokerJ {
	tb.Helper()
	require(tb, b.brokerJErr)
	return b.brokerJ
}

// require ends a test whose broker could not be started.
func require(tb testing.TB, err error) {
	tb.Helper()
	if err == nil {
		return
	}
	if errors.Is(err, peertest.ErrMissing) && os.Getenv("PARLEY_TEST_OPTIONAL") == "1" {
		tb.Skipf("NOT PROVEN: %s: %v", tb.Name(), err)
	}
	tb.Fatal(err)
}

// Host returns a Host for the drivers built here, which logs into logs.
func (b *Bed) Host(logs *Logs) *messaging.Host {
	return messaging.NewHost(&messaging.HostOptions{
		DriverPath: []string{b.Drivers}, RuntimeDir: b.Runtime, Logger: logs.Logger(),
	})
}

// Open opens a transport with a driver process of its own. It is closed with the test.
func (b *Bed) Open(tb testing.TB, url string) (*messaging.Transport, *Logs) {
	tb.Helper()
	logs := NewLogs(tb)
	t, err := messaging.Open(tb.Context(), url, &messaging.Options{Host: b.Host(logs), Logger: logs.Logger(), AppName: "testbed"})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { Close(tb, t) })
	return t, logs
}

// Close closes a transport, in bounded time.
func Close(tb testing.TB, t *messaging.Transport) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := t.Close(ctx); err != nil {
		tb.Errorf("close the transport: %v", err)
	}
}

// Server is an RPC server or a notification listener.
type Server interface {
	Serve(ctx context.Context) error
	Shutdown(ctx context.Context) error
	Ready() <-chan struct{}
}

// Serve runs a server until the test ends, and returns when it receives messages.
func Serve(tb testing.TB, s Server) (stop func()) {
	tb.Helper()
	served := make(chan error, 1)
	go func() { served <- s.Serve(context.Background()) }()
	stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			tb.Errorf("shut down the server: %v", err)
		}
		if err := <-served; !errors.Is(err, messaging.ErrServerClosed) {
			tb.Errorf("Serve returned %v", err)
		}
	})
	tb.Cleanup(stop)
	select {
	case <-s.Ready():
	case err := <-served:
		served <- err
		tb.Fatalf("Serve returned %v", err)
	case <-time.After(closeTimeout):
		tb.Fatal("the server is not ready in time")
	}
	return stop
}

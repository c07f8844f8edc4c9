// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parleymq/parley/internal/memory"
	"github.com/parleymq/parley/plugin/driver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of the tests; it is never waited for when all is well.
const patience = 20 * time.Second

// faults is a conn with hooks in front of another, for what a healthy broker never does.
// It is synchronous; asyncFaults is the same with the ability to send asynchronously.
type faults struct {
	driver.Conn
	info driver.Info

	// onSend, when set, is asked before each message; handled means that err is the result.
	onSend   func(ctx context.Context, m *driver.Message) (handled bool, err error)
	onListen func(src driver.Source) error
	wrap     func(driver.Source, driver.Listener) driver.Listener

	listens atomic.Int64
}

func (f *faults) Info() driver.Info { return f.info }

func (f *faults) Send(ctx context.Context, batch []*driver.Message) error {
	if len(batch) > 1 { // a fault happens to one message
		errs := make([]error, len(batch))
		for i := range batch {
			errs[i] = f.Send(ctx, batch[i:i+1])
		}
		if failed := failures(errs); len(failed) == 0 {
			return nil
		}
		return &driver.BatchError{Errs: errs}
	}
	for _, m := range batch {
		if f.onSend != nil {
			if handled, err := f.onSend(ctx, m); handled {
				return err
			}
		}
	}
	return f.Conn.Send(ctx, batch)
}

func (f *faults) Listen(ctx context.Context, src driver.Source) (driver.Listener, error) {
	f.listens.Add(1)
	if f.onListen != nil {
		if err := f.onListen(src); err != nil {
			return nil, err
		}
	}
	l, err := f.Conn.Listen(ctx, src)
	if err == nil && f.wrap != nil {
		l = f.wrap(src, l)
	}
	return l, err
}

type asyncFaults struct{ *faults }

func (f asyncFaults) SendAsync(ctx context.Context, batch []*driver.Message, done func(int, error)) {
	for i, m := range batch {
		done(i, f.Send(ctx, []*driver.Message{m}))
	}
}

// recorder is a slog.Handler that keeps the records' text.
type recorder struct {
	mu    sync.Mutex // guards lines
	lines []string
}

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, string(p))
	return len(p), nil
}

func (r *recorder) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.lines...)
}

func (r *recorder) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(r, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// openMemory returns a conn to a broker in memory.
func openMemory(t testing.TB, d driver.Driver) driver.Conn {
	t.Helper()
	conn, err := d.Open(t.Context(), driver.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// rig is a transport on a broker in memory with faults in between.
type rig struct {
	*Transport
	broker driver.Driver
	faults *faults
	log    *recorder
}

// newRig makes a rig; configure sets hooks before anything runs.
func newRig(t testing.TB, opts *Options, configure ...func(*faults)) *rig {
	t.Helper()
	r := &rig{broker: memory.New(), log: &recorder{}}
	r.faults = &faults{Conn: openMemory(t, r.broker), info: r.broker.Describe()}
	for _, c := range configure {
		c(r.faults)
	}
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.Logger == nil {
		o.Logger = r.log.logger()
	}
	r.Transport = NewTransport(asyncFaults{r.faults}, &o)
	t.Cleanup(func() { closeTransport(t, r.Transport) })
	return r
}

func closeTransport(t testing.TB, tr *Transport) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := tr.Close(ctx); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// serve runs a server until the test ends, and returns it once it listens.
func serve(t testing.TB, tr *Transport, target Target, opts *RPCServerOptions, eps ...*Endpoint) *RPCServer {
	t.Helper()
	s := NewRPCServer(tr, target, opts, eps...)
	result := make(chan error, 1)
	go func() { result <- s.Serve(context.Background()) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		<-result //nolint:errcheck // how Serve ends is another test
	})
	select {
	case <-s.Ready():
	case err := <-result:
		result <- err
		t.Fatalf("Serve: %v", err)
	case <-time.After(patience):
		t.Fatal("the server is not ready")
	}
	return s
}

// wait waits for c, or fails the test.
func wait[T any](t testing.TB, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("timed out waiting for %s", what)
		panic("unreachable")
	}
}

// eventually polls cond until it is true.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting until %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

var computeTarget = Target{Topic: "compute", Server: "host1"}

func echoEndpoint() *Endpoint {
	ep := NewEndpoint(nil)
	ep.HandleFunc("echo", func(_ context.Context, args map[string]any) (any, error) { return args, nil })
	return ep
}

// SPDX-License-Identifier: Apache-2.0

package bridge_test

import (
	"context"
	"errors"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/bridge"
	"github.com/parleymq/parley/internal/memory"
	"github.com/parleymq/parley/plugin/driver"
)

// TestAListenerThatStopsReadingStallsNobody: neither other listeners nor results nor replies.
func TestAListenerThatStopsReadingStallsNobody(t *testing.T) {
	c := newPair(t, memory.New(), bridge.Limits{}).open(t, "v")
	ctx := within(t)
	stalled, err := c.Listen(ctx, serverSource("stalled"))
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(ctx, time.Millisecond)
	if _, err := stalled.Poll(short, 1000); err == nil { // grants credit, and never reads again
		t.Error("there was something to poll")
	}
	cancel()
	other, err := c.Listen(ctx, serverSource("other"))
	if err != nil {
		t.Fatal(err)
	}
	replies, err := c.Listen(ctx, driver.Source{Kind: driver.SourceReplies, Settle: driver.SettleOnPoll, ReplyName: "r"})
	if err != nil {
		t.Fatal(err)
	}
	body := make([]byte, 100<<10)
	for range 300 { // far more than its window
		if err := c.Send(ctx, []*driver.Message{castTo("stalled", "x", body)}); err != nil {
			t.Fatal(err)
		}
	}
	var slowest time.Duration
	for range 200 {
		began := time.Now()
		reply := &driver.Message{Kind: driver.Reply, ReplyTo: "r", CallID: "c", UniqueID: "y", Body: []byte("{}")}
		if err := c.Send(ctx, []*driver.Message{castTo("other", "x", nil), reply}); err != nil {
			t.Fatal(err)
		}
		for name, l := range map[string]driver.Listener{"server": other, "replies": replies} {
			if ds, err := l.Poll(ctx, 1); err != nil || len(ds) != 1 {
				t.Fatalf("%s: got %d messages, %v", name, len(ds), err)
			}
		}
		slowest = max(slowest, time.Since(began))
	}
	t.Logf("with a listener that does not read: a message and a reply there and back in %v at most", slowest)
	for _, l := range []driver.Listener{stalled, other, replies} {
		if err := l.Close(ctx); err != nil {
			t.Error(err)
		}
	}
}

// footprint is what is in use, after collecting.
func footprint() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// TestAThousandListeners on one connection all deliver.
func TestAThousandListeners(t *testing.T) {
	const n = 1000
	c := newPair(t, memory.New(), bridge.Limits{}).open(t, "v")
	ctx := within(t)
	before := footprint()
	listeners := make([]driver.Listener, n)
	for i := range listeners {
		var err error
		if listeners[i], err = c.Listen(ctx, serverSource(strconv.Itoa(i))); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d listeners: %d bytes each, both sides and the broker in one process", n, (footprint()-before)/n)
	var polls sync.WaitGroup
	for i, l := range listeners {
		polls.Go(func() {
			ds, err := l.Poll(ctx, 1)
			if err != nil || len(ds) != 1 || ds[0].UniqueID != strconv.Itoa(i) {
				t.Errorf("listener %d got %v, %v", i, ds, err)
			}
		})
	}
	for i := range listeners {
		if err := c.Send(ctx, []*driver.Message{castTo(strconv.Itoa(i), strconv.Itoa(i), nil)}); err != nil {
			t.Fatal(err)
		}
	}
	polls.Wait()
	for _, l := range listeners {
		if err := l.Close(ctx); err != nil {
			t.Error(err)
		}
	}
}

// TestByteCreditBoundsMemory: bodies of 1 MiB for a listener that does not poll. What was begun
// is bounded by the window on the host's side, and by one Poll on the driver's.
func TestByteCreditBoundsMemory(t *testing.T) {
	const size, n = 1 << 20, 150
	for _, kind := range []driver.SourceKind{driver.SourceReplies, driver.SourceServer} {
		t.Run(kind.String(), func(t *testing.T) {
			sizes := make([]int, n)
			for i := range sizes {
				sizes[i] = size
			}
			d := &scripted{Driver: memory.New(), sizes: sizes}
			c := newPair(t, d, bridge.Limits{}).open(t, "v")
			ctx := within(t)
			src := serverSource("t")
			src.Kind, src.ReplyName = kind, "r"
			l, err := c.Listen(ctx, src)
			if err != nil {
				t.Fatal(err)
			}
			before := footprint()
			got := 0
			polled := func(max int) {
				ds, err := l.Poll(ctx, max)
				if err != nil {
					t.Fatal(err)
				}
				got += len(ds)
			}
			for got < 70 { // until sizes are known, and all of the first Poll is through
				polled(256)
			}
			most := int64(0)
			for range 5 { // nobody polls: nothing more comes, and nothing grows
				awaitQuiet(l.(*bridge.Listener))
				most = max(most, footprint()-before)
			}
			held := l.(*bridge.Listener).Buffered()
			t.Logf("buffered by the host: %d KiB; host and driver together grew by %d MiB", held>>10, most>>20)
			// The window and one message on the host's side, as much in the driver's last Poll,
			// twice for the buffers that grow, and what grpc has under way.
			if limit := int64(4*bridge.ListenWindowBytes + 16<<20); most > limit {
				t.Errorf("grew by %d bytes, want at most %d", most, limit)
			}
			if held > bridge.ListenWindowBytes+2*size {
				t.Errorf("%d bytes are buffered", held)
			}
			for got < n { // and everything comes when it is polled
				polled(256)
			}
			if err := l.Close(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}

// awaitQuiet returns when nothing was buffered any more for a while.
func awaitQuiet(l *bridge.Listener) {
	last := -1
	for now := l.Buffered(); now != last; now = l.Buffered() {
		last = now
		<-time.After(100 * time.Millisecond)
	}
}

// blockedDriver has a broker that takes nothing: Send waits, and then says why (SEND-4). The
// connection "other" works.
type blockedDriver struct {
	driver.Driver
	mu   sync.Mutex
	held int // bytes in Send; guarded by mu
	most int // guarded by mu
}

func (d *blockedDriver) Open(ctx context.Context, cfg driver.Config) (driver.Conn, error) {
	c, err := d.Driver.Open(ctx, cfg)
	if err != nil || cfg.VirtualHost == "other" {
		return c, err
	}
	cfg.Report(driver.State{Phase: driver.Blocked, Err: errBlocked()})
	return &blockedConn{c, d}, nil
}

func errBlocked() *driver.Error {
	return driver.Errorf(driver.ReasonBrokerBlocked, "the broker takes no messages: memory")
}

type blockedConn struct {
	driver.Conn
	d *blockedDriver
}

// SendAsync keeps each message until its ctx ends.
func (c *blockedConn) SendAsync(ctx context.Context, batch []*driver.Message, done func(int, error)) {
	size := 0
	for _, m := range batch {
		size += m.Size()
	}
	c.d.hold(size)
	context.AfterFunc(ctx, func() {
		c.d.hold(-size)
		for i := range batch {
			done(i, errBlocked())
		}
	})
}

func (d *blockedDriver) hold(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.held += n
	d.most = max(d.most, d.held)
}

// TestBlockedBrokerIsBackPressure: what is sent is bounded in messages and bytes, callers wait
// with their own deadlines and learn the cause, and another connection is not harmed.
func TestBlockedBrokerIsBackPressure(t *testing.T) {
	for name, c := range map[string]struct {
		limits  bridge.Limits
		callers int
		size    int
		most    int // bytes in the driver
	}{
		"by number":               {bridge.Limits{MaxSendsInFlight: 100}, 300, 1000, 100 * 1200},
		"by bytes":                {bridge.Limits{}, 500, 200 << 10, bridge.SendWindowBytes + 256<<10},
		"large messages by bytes": {bridge.Limits{}, 100, 1 << 20, 64 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			d := &blockedDriver{Driver: memory.New()}
			p := newPair(t, d, c.limits)
			defer runSession(t, p.peer, bridge.SessionOptions{Interval: time.Second, Silence: time.Minute})()
			blocked := p.open(t, "blocked")
			eventually(t, "the state is known", func() bool {
				return blocked.Trouble() != nil
			})
			other, err := p.peer.Open(within(t), driver.Config{VirtualHost: "other", HasVirtualHost: true})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = other.Close(within(t)) }()
			body := make([]byte, c.size)
			ctx, cancel := context.WithTimeout(within(t), 2*time.Second)
			defer cancel()
			var callers sync.WaitGroup
			for range c.callers {
				callers.Go(func() {
					err := blocked.Send(ctx, []*driver.Message{castTo("t", "x", body)})
					e := driver.AsError(err)
					// What the driver had no time to report counts as in doubt.
					said := e != nil && e.Reason == driver.ReasonBrokerBlocked
					if unsaid := e != nil && e.InDoubt && errors.Is(e, context.DeadlineExceeded); !said && !unsaid {
						t.Errorf("got %v", err)
					}
				})
			}
			for range 20 {
				unharmed(t, other)
			}
			callers.Wait()
			d.mu.Lock()
			defer d.mu.Unlock()
			t.Logf("%d callers with %d bytes: the driver held %d KiB at most", c.callers, c.size, d.most>>10)
			if d.most > c.most || d.most < c.size {
				t.Errorf("the driver held %d bytes, want at most %d, and some", d.most, c.most)
			}
		})
	}
}

// runSession runs a session until the function that it returns is called.
func runSession(t *testing.T, peer *bridge.Peer, o bridge.SessionOptions) func() {
	t.Helper()
	ctx, cancel := context.WithCancel(within(t))
	ended := make(chan error, 1)
	go func() { ended <- peer.Session(ctx, o) }()
	return func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the session ended with %v", err)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package bridge_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/parleymq/parley/internal/bridge"
	"github.com/parleymq/parley/internal/memory"
	"github.com/parleymq/parley/plugin/driver"
	pb "github.com/parleymq/parley/plugin/proto"
)

// pattern is n bytes that show what was mixed up.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i>>8 ^ i>>16 ^ i*7)
	}
	return b
}

// TestSizesAroundTheLimits: what comes out is what went in, both ways.
func TestSizesAroundTheLimits(t *testing.T) {
	const limit = 8 << 20
	p := newPair(t, memory.New(), bridge.Limits{MaxMessageBytes: limit})
	c := p.open(t, "v")
	ctx := within(t)
	l, err := c.Listen(ctx, serverSource("t"))
	if err != nil {
		t.Fatal(err)
	}
	overhead := castTo("t", "x", nil).Size()
	for _, size := range []int{0, 1, bridge.ChunkBytes - overhead, bridge.ChunkBytes - overhead + 1, bridge.ChunkBytes, bridge.ChunkBytes + 1, 10 * bridge.ChunkBytes, limit - overhead} {
		m := castTo("t", "x", pattern(size))
		if err := c.Send(ctx, []*driver.Message{m}); err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		ds, err := l.Poll(ctx, 4)
		if err != nil || len(ds) != 1 || !bytes.Equal(ds[0].Body, m.Body) {
			t.Fatalf("%d bytes: got %d messages, %v", size, len(ds), err)
		}
	}
	err = c.Send(ctx, []*driver.Message{castTo("t", "x", pattern(limit-overhead+1))})
	if driver.ReasonOf(err) != driver.ReasonMessageTooLarge || driver.AsError(err).InDoubt {
		t.Errorf("a byte above the limit: %v", err)
	}
	// All three fields are cut, and a failure is as large as it likes.
	m := &driver.Message{
		Kind: driver.Call, Target: driver.Target{Exchange: "e", Topic: "t"}, UniqueID: "x", CallID: "c", ReplyTo: "r",
		Context: pattern(300 << 10), Body: pattern(500 << 10), Failure: pattern(700 << 10), TimeLeft: time.Minute,
	}
	if err := c.Send(ctx, []*driver.Message{m}); err != nil {
		t.Fatal(err)
	}
	ds, err := l.Poll(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	if d := ds[0]; !bytes.Equal(d.Context, m.Context) || !bytes.Equal(d.Body, m.Body) || !bytes.Equal(d.Failure, m.Failure) ||
		d.CallID != "c" || d.ReplyTo != "r" || d.TimeLeft <= 0 || d.TimeLeft > time.Minute {
		t.Errorf("got %d, %d and %d bytes, %v left", len(d.Context), len(d.Body), len(d.Failure), d.TimeLeft)
	}
	if err := l.Close(ctx); err != nil {
		t.Error(err)
	}
}

// TestTooLargeNamesTheOption: which side's limit it is decides what is to be raised.
func TestTooLargeNamesTheOption(t *testing.T) {
	for name, c := range map[string]struct {
		host, driver int
		old          bool // a driver that knows no chunks
		size         int
		says         []string
	}{
		"the host's":     {1 << 20, 0, false, 2 << 20, []string{"has 2097219 bytes", "limit is 1048576", "MaxMessageBytes of the Host"}},
		"the driver's":   {0, 1 << 20, false, 2 << 20, []string{"has 2097219 bytes", "limit is 1048576", "MaxMessageBytes of the driver's ServeOptions"}},
		"an old driver":  {0, 0, true, 17 << 20, []string{"has 17825859 bytes", "limit is 16776192", "takes no message in chunks"}},
		"by the default": {0, 0, false, 64 << 20, []string{"has 67108931 bytes", "limit is 67108864", "MaxMessageBytes of the Host"}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := quietConfig()
			cfg.Limits.MaxMessageBytes = c.driver
			p := newPairOf(t, memory.New(), cfg)
			cc := grpc.ClientConnInterface(p.cc)
			if c.old {
				cc = oldDriver{p.cc}
			}
			peer, err := bridge.Hello(within(t), cc, bridge.HelloOptions{Epoch: testEpoch, Limits: bridge.Limits{MaxMessageBytes: c.host}})
			if err != nil {
				t.Fatal(err)
			}
			conn := openPeer(t, peer)
			began := time.Now()
			err = conn.Send(within(t), []*driver.Message{castTo("t", "x", make([]byte, c.size))})
			if driver.ReasonOf(err) != driver.ReasonMessageTooLarge {
				t.Fatalf("got %v", err)
			}
			for _, part := range c.says {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("the error does not say %q: %v", part, err)
				}
			}
			if took := time.Since(began); took > time.Second {
				t.Errorf("refused after %v", took)
			}
			if err := conn.Send(within(t), []*driver.Message{castTo("t", "y", nil)}); err != nil {
				t.Errorf("another message: %v", err)
			}
		})
	}
}

// oldDriver hides what was added for chunks, from both sides.
type oldDriver struct{ grpc.ClientConnInterface }

func (o oldDriver) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	if r, ok := args.(*pb.HelloRequest); ok {
		r.Limits.MaxMessageBytes = 0
	}
	err := o.ClientConnInterface.Invoke(ctx, method, args, reply, opts...)
	if r, ok := reply.(*pb.HelloResponse); ok && err == nil {
		r.Limits.MaxMessageBytes = 0
	}
	return err
}

// TestOldPeerGetsOneFrame: what fits into a frame crosses both ways without chunks.
func TestOldPeerGetsOneFrame(t *testing.T) {
	p := newPairOf(t, memory.New(), quietConfig())
	peer, err := bridge.Hello(within(t), oldDriver{p.cc}, bridge.HelloOptions{Epoch: testEpoch})
	if err != nil {
		t.Fatal(err)
	}
	c := openPeer(t, peer)
	ctx := within(t)
	l, err := c.Listen(ctx, serverSource("t"))
	if err != nil {
		t.Fatal(err)
	}
	body := pattern(10 << 20)
	if err := c.Send(ctx, []*driver.Message{castTo("t", "x", body)}); err != nil {
		t.Fatal(err)
	}
	ds, err := l.Poll(ctx, 1)
	if err != nil || !bytes.Equal(ds[0].Body, body) {
		t.Errorf("got %d messages, %v", len(ds), err)
	}
	if err := l.Close(ctx); err != nil {
		t.Error(err)
	}
}

// TestSmallRepliesPassLargeOnes and everything else keeps its order: replies belong to calls that
// know nothing of each other.
func TestSmallRepliesPassLargeOnes(t *testing.T) {
	for kind, wantOrder := range map[driver.SourceKind]bool{driver.SourceReplies: false, driver.SourceServer: true} {
		t.Run(fmt.Sprint(kind), func(t *testing.T) {
			c := newPair(t, &scripted{Driver: memory.New(), sizes: []int{16 << 20, 10, 10, 1 << 20, 10}}, bridge.Limits{}).open(t, "v")
			ctx := within(t)
			src := serverSource("t")
			src.Kind, src.ReplyName = kind, "r"
			l, err := c.Listen(ctx, src)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for len(got) < 5 {
				ds, err := l.Poll(ctx, 16)
				if err != nil {
					t.Fatal(err)
				}
				for _, d := range ds {
					got = append(got, d.UniqueID)
				}
			}
			order := strings.Join(got, " ")
			if inOrder := order == "0 1 2 3 4"; inOrder != wantOrder || !wantOrder && got[len(got)-1] != "0" {
				t.Errorf("got %s", order)
			}
			if err := l.Close(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}

// scripted is a driver whose listeners deliver messages of such sizes, and count what they were
// asked for.
type scripted struct {
	driver.Driver
	sizes []int
}

func (d *scripted) Open(ctx context.Context, cfg driver.Config) (driver.Conn, error) {
	c, err := d.Driver.Open(ctx, cfg)
	return &scriptedConn{c, d}, err
}

type scriptedConn struct {
	driver.Conn
	d *scripted
}

func (c *scriptedConn) Listen(context.Context, driver.Source) (driver.Listener, error) {
	return &scriptedListener{sizes: c.d.sizes, closed: make(chan struct{})}, nil
}

type scriptedListener struct {
	sizes  []int
	next   int
	closed chan struct{}
}

func (l *scriptedListener) Poll(ctx context.Context, max int) ([]*driver.Delivery, error) {
	var ds []*driver.Delivery
	for ; len(ds) < max && l.next < len(l.sizes); l.next++ {
		ds = append(ds, &driver.Delivery{
			Message: driver.Message{Kind: driver.Reply, UniqueID: strconv.Itoa(l.next), Body: make([]byte, l.sizes[l.next])}, Token: uint64(l.next + 1),
		})
	}
	if len(ds) > 0 {
		return ds, nil
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-l.closed:
		return nil, driver.Errorf(driver.ReasonClosed, "closed")
	}
}

func (l *scriptedListener) Done(context.Context, []driver.Outcome) error { return nil }

func (l *scriptedListener) Close(context.Context) error {
	close(l.closed)
	return nil
}

// TestStopDeliversLargeOnesThatWereTaken: with SettleOnPoll the broker will not give them again.
func TestStopDeliversLargeOnesThatWereTaken(t *testing.T) {
	sizes := []int{6 << 20, 6 << 20, 6 << 20, 10}
	c := newPair(t, &scripted{Driver: memory.New(), sizes: sizes}, bridge.Limits{}).open(t, "v")
	ctx := within(t)
	for _, kind := range []driver.SourceKind{driver.SourceReplies, driver.SourceServer} {
		l, err := c.Listen(ctx, driver.Source{Kind: kind, Settle: driver.SettleOnPoll, ReplyName: "r", Target: driver.Target{Topic: "t", Server: "s"}})
		if err != nil {
			t.Fatal(err)
		}
		got := 0
		ds, err := l.Poll(ctx, 16) // grants the credit on which all were polled
		if err != nil {
			t.Fatal(err)
		}
		got += len(ds)
		if err := l.(driver.Stopper).Stop(ctx); err != nil {
			t.Fatal(err)
		}
		for {
			ds, err := l.Poll(ctx, 16)
			if err != nil {
				if driver.ReasonOf(err) != driver.ReasonClosed {
					t.Error(err)
				}
				break
			}
			got += len(ds)
		}
		if got != len(sizes) {
			t.Errorf("source %d: %d of %d came", kind, got, len(sizes))
		}
		if err := l.Close(ctx); err != nil {
			t.Error(err)
		}
	}
}

// TestWithdrawnLargeMessageLeavesTheStreamUsable goes through a real stream, at random moments.
func TestWithdrawnLargeMessageLeavesTheStreamUsable(t *testing.T) {
	c := newPair(t, memory.New(), bridge.Limits{}).open(t, "v")
	body := make([]byte, 8<<20)
	cancelled := 0
	for i := range 20 {
		ctx, cancel := context.WithTimeout(within(t), time.Duration(i)*time.Millisecond)
		err := c.Send(ctx, []*driver.Message{castTo("gone", "x", body)})
		cancel()
		if err != nil {
			if !errors.Is(err, context.DeadlineExceeded) && driver.ReasonOf(err) != driver.ReasonCancelled {
				t.Errorf("got %v", err)
			}
			cancelled++
		}
		if err := c.Send(within(t), []*driver.Message{castTo("gone", "y", nil)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Flush(within(t)); err != nil {
		t.Error(err)
	}
	t.Logf("%d of 20 were withdrawn", cancelled)
}

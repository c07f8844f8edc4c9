// SPDX-License-Identifier: Apache-2.0

package messaging

import (
	"context"
	"testing"

	"github.com/parleymq/parley/plugin/driver"
)

// loop is the smallest conn there is: requests go to the one server, replies to the one
// client, through channels.
type loop struct {
	requests chan *driver.Delivery
	replies  chan *driver.Delivery
	closed   chan struct{}
}

func newLoop() *loop {
	return &loop{requests: make(chan *driver.Delivery, 1024), replies: make(chan *driver.Delivery, 1024), closed: make(chan struct{})}
}

func (l *loop) queue(k driver.Kind) chan *driver.Delivery {
	if k == driver.Call || k == driver.Cast {
		return l.requests
	}
	return l.replies
}

func (l *loop) Send(_ context.Context, batch []*driver.Message) error {
	for _, m := range batch {
		l.queue(m.Kind) <- &driver.Delivery{Message: *m}
	}
	return nil
}

func (l *loop) SendAsync(ctx context.Context, batch []*driver.Message, done func(int, error)) {
	err := l.Send(ctx, batch)
	for i := range batch {
		done(i, err)
	}
}

func (l *loop) Listen(_ context.Context, src driver.Source) (driver.Listener, error) {
	if src.Kind == driver.SourceReplies {
		return loopListener{l.replies}, nil
	}
	return loopListener{l.requests}, nil
}

func (l *loop) Close(context.Context) error { return nil }

type loopListener struct{ queue chan *driver.Delivery }

func (l loopListener) Poll(ctx context.Context, max int) ([]*driver.Delivery, error) {
	select {
	case d := <-l.queue:
		batch := append(make([]*driver.Delivery, 0, min(max, 16)), d)
		for len(batch) < max {
			select {
			case d := <-l.queue:
				batch = append(batch, d)
			default:
				return batch, nil
			}
		}
		return batch, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l loopListener) Done(context.Context, []driver.Outcome) error { return nil }
func (l loopListener) Close(context.Context) error                  { return nil }

type benchArgs struct {
	ID   string `json:"id"`
	Size int    `json:"size"`
}

var benchMethod = Method[benchArgs, benchArgs]{Name: "echo"}

func benchRig(b *testing.B) *RPCClient {
	b.Helper()
	t := NewTransport(newLoop(), nil)
	b.Cleanup(func() { closeTransport(b, t) })
	ep := NewEndpoint(nil)
	benchMethod.Handle(ep, func(_ context.Context, a benchArgs) (benchArgs, error) { return a, nil })
	serve(b, t, computeTarget, nil, ep)
	return NewRPCClient(t, Target{Topic: "compute"}, nil)
}

func BenchmarkCall(b *testing.B) {
	c := benchRig(b)
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := benchMethod.Call(ctx, c, benchArgs{ID: "i-1", Size: 3}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCallParallel(b *testing.B) {
	c := benchRig(b)
	ctx := context.Background()
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := benchMethod.Call(ctx, c, benchArgs{ID: "i-1", Size: 3}); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkCast(b *testing.B) {
	c := benchRig(b)
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if err := benchMethod.Cast(ctx, c, benchArgs{ID: "i-1", Size: 3}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCallRaw(b *testing.B) {
	c := benchRig(b)
	ctx := context.Background()
	args := map[string]any{"id": "i-1", "size": 3}
	b.ReportAllocs()
	for b.Loop() {
		if err := c.Call(ctx, "echo", args, nil); err != nil {
			b.Fatal(err)
		}
	}
}

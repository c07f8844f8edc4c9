// SPDX-License-Identifier: Apache-2.0

package bridge_test

import (
	"context"
	"net"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/grpc"

	"github.com/parleymq/parley/internal/bridge"
	"github.com/parleymq/parley/internal/memory"
	"github.com/parleymq/parley/plugin/driver"
	pb "github.com/parleymq/parley/plugin/proto"
)

// inspected is a driver whose Conns answer Queues by a function.
type inspected struct {
	driver.Driver
	answer func(topics []driver.NotificationTopic, pool string) ([]driver.QueueStatus, error)
}

func (d inspected) Open(ctx context.Context, cfg driver.Config) (driver.Conn, error) {
	c, err := d.Driver.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if d.answer == nil {
		return pingingConn{c}, nil // it has no ability to tell
	}
	return inspectedConn{pingingConn{c}, d}, nil
}

// pingingConn can do nothing more than to be pinged.
type pingingConn struct{ driver.Conn }

func (c pingingConn) Ping(ctx context.Context) error { return c.Conn.(driver.Pinger).Ping(ctx) }

type inspectedConn struct {
	pingingConn
	d inspected
}

func (c inspectedConn) Queues(_ context.Context, topics []driver.NotificationTopic, pool string) ([]driver.QueueStatus, error) {
	return c.d.answer(topics, pool)
}

func someTopics() []driver.NotificationTopic {
	return []driver.NotificationTopic{{Exchange: "e", Topic: "ä", Priority: "info"}, {Exchange: "e", Topic: "t", Priority: "warn"}}
}

func TestQueuesCross(t *testing.T) {
	want := []driver.QueueStatus{
		{Name: "one", Pool: "p", Topics: someTopics(), Exists: true, Messages: 1<<63 + 1, Consumers: 1<<32 - 1},
		{Name: "two", Pool: "p"},
	}
	p := newPair(t, inspected{memory.New(), func(topics []driver.NotificationTopic, pool string) ([]driver.QueueStatus, error) {
		if !reflect.DeepEqual(topics, someTopics()) || pool != "p" {
			t.Errorf("asked for %+v of %q", topics, pool)
		}
		return want, nil
	}}, bridge.Limits{})
	got, err := p.open(t, "v").Queues(within(t), someTopics(), "p")
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestQueuesFail(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer func(topics []driver.NotificationTopic, pool string) ([]driver.QueueStatus, error)
		topics []driver.NotificationTopic
		want   driver.Reason
		text   string
	}{
		{name: "no ability", want: driver.ReasonUnsupported, text: "fake"},
		{name: "an error with a hint", want: driver.ReasonAccessRefused, text: "not you", answer: func([]driver.NotificationTopic, string) ([]driver.QueueStatus, error) {
			return nil, driver.Errorf(driver.ReasonAccessRefused, "not you").WithHint("ask")
		}},
		{name: "a panic", want: driver.ReasonDriverBug, text: "in Queues", answer: func([]driver.NotificationTopic, string) ([]driver.QueueStatus, error) { panic("no") }},
		{name: "more than was asked for", want: driver.ReasonProtocol, text: "3 queues for 2 topics", answer: func([]driver.NotificationTopic, string) ([]driver.QueueStatus, error) {
			return make([]driver.QueueStatus, 3), nil
		}},
		{name: "no text", want: driver.ReasonUnsupported, text: "UTF-8", topics: []driver.NotificationTopic{{Topic: "\xff"}}, answer: func([]driver.NotificationTopic, string) ([]driver.QueueStatus, error) { return nil, nil }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.topics == nil {
				tt.topics = someTopics()
			}
			c := newPair(t, inspected{memory.New(), tt.answer}, bridge.Limits{}).open(t, "v")
			_, err := c.Queues(within(t), tt.topics, "")
			if driver.ReasonOf(err) != tt.want || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			if err := c.Ping(within(t)); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

// TestQueuesEndWithCtx: a driver that does not answer holds up nobody else.
func TestQueuesEndWithCtx(t *testing.T) {
	hold := make(chan struct{})
	c := newPair(t, inspected{memory.New(), func([]driver.NotificationTopic, string) ([]driver.QueueStatus, error) {
		<-hold
		return nil, nil
	}}, bridge.Limits{}).open(t, "v")
	ctx, cancel := context.WithCancel(t.Context())
	asked := make(chan error, 1)
	go func() {
		_, err := c.Queues(ctx, someTopics(), "")
		asked <- err
	}()
	if err := c.Ping(within(t)); err != nil {
		t.Errorf("ping meanwhile: %v", err)
	}
	cancel()
	if err := <-asked; err == nil {
		t.Error("it did not fail")
	}
	close(hold)
}

// beforeQueues is a driver's side that does not know the call.
type beforeQueues struct{ *bridge.Server }

func (beforeQueues) Queues(ctx context.Context, r *pb.QueuesRequest) (*pb.QueuesResponse, error) {
	return pb.UnimplementedDriverServer{}.Queues(ctx, r)
}

// TestQueuesOfAnOldDriver: who was built before the call answers that it cannot.
func TestQueuesOfAnOldDriver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	lis, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	gs := grpc.NewServer(bridge.ServerOptions(bridge.Limits{})...)
	pb.RegisterDriverServer(gs, beforeQueues{bridge.NewServer(memory.New(), quietConfig())})
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = gs.Serve(lis) // ends by Stop
	}()
	t.Cleanup(func() { gs.Stop(); <-served })
	peer, err := bridge.Hello(within(t), dial(t, path, bridge.Limits{}), bridge.HelloOptions{HostVersion: "test", Epoch: testEpoch})
	if err != nil {
		t.Fatal(err)
	}
	c := openPeer(t, peer)
	_, err = c.Queues(within(t), someTopics(), "")
	if driver.ReasonOf(err) != driver.ReasonUnsupported {
		t.Errorf("got %v", err)
	}
	if err := c.Ping(within(t)); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

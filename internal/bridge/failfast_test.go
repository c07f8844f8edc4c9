// SPDX-License-Identifier: Apache-2.0

package bridge_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/bridge"
	"github.com/parleymq/parley/internal/memory"
	"github.com/parleymq/parley/plugin/driver"
)

// awayDriver has a broker that is away, and no SendAsync.
type awayDriver struct {
	driver.Driver

	mu     sync.Mutex
	report func(driver.State) // guarded by mu
}

func (d *awayDriver) Open(ctx context.Context, cfg driver.Config) (driver.Conn, error) {
	d.mu.Lock()
	d.report = cfg.Report
	d.mu.Unlock()
	c, err := d.Driver.Open(ctx, cfg)
	return awayConn{c}, err
}

func (d *awayDriver) say(s driver.State) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.report(s)
}

func errAway() *driver.Error { return driver.Errorf(driver.ReasonNotConnected, "the broker is away") }

type awayConn struct{ driver.Conn }

func (awayConn) Send(ctx context.Context, batch []*driver.Message) error {
	errs := make([]error, len(batch))
	patient := false
	for i, m := range batch {
		errs[i] = errAway()
		patient = patient || !m.FailFast
	}
	if patient {
		<-ctx.Done()
	}
	return &driver.BatchError{Errs: errs}
}

func hurried(id string) *driver.Message {
	m := castTo("t", id, []byte("{}"))
	m.FailFast = true
	return m
}

// TestFailFastDoesNotWaitBehindSend: SEND-10 with a driver whose Send blocks.
func TestFailFastDoesNotWaitBehindSend(t *testing.T) {
	p := newPair(t, &awayDriver{Driver: memory.New()}, bridge.Limits{})
	c := p.open(t, "v")
	ctx, cancel := context.WithCancel(within(t))
	waiting := make(chan error, 1)
	c.SendAsync(ctx, []*driver.Message{castTo("t", "1", []byte("{}"))}, func(_ int, err error) { waiting <- err })
	if err := c.Send(within(t), []*driver.Message{hurried("2")}); driver.ReasonOf(err) != driver.ReasonNotConnected {
		t.Errorf("got %v", err)
	}
	cancel()
	if err := <-waiting; err == nil {
		t.Error("the message that waits was sent")
	}
}

// TestFailFastDoesNotWaitForRoom: the room is taken by messages that wait for the broker.
func TestFailFastDoesNotWaitForRoom(t *testing.T) {
	d := &awayDriver{Driver: memory.New()}
	p := newPair(t, d, bridge.Limits{MaxSendsInFlight: 2})
	session, endSession := context.WithCancel(within(t))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = p.peer.Session(session, bridge.SessionOptions{Interval: time.Second, Silence: time.Minute})
	}()
	defer func() { endSession(); <-ended }()
	c := p.open(t, "v")
	ctx, cancel := context.WithCancel(within(t))
	var waiting sync.WaitGroup
	waiting.Add(2)
	batch := []*driver.Message{castTo("t", "1", []byte("{}")), castTo("t", "2", []byte("{}"))}
	c.SendAsync(ctx, batch, func(int, error) { waiting.Done() })
	hurry := make(chan error, 1)
	go func() { hurry <- c.Send(within(t), []*driver.Message{hurried("3")}) }()
	d.say(driver.State{Phase: driver.Connecting, Err: errAway()})
	if err := <-hurry; driver.ReasonOf(err) != driver.ReasonNotConnected || driver.AsError(err).InDoubt {
		t.Errorf("got %v", err)
	}
	cancel()
	waiting.Wait()
}

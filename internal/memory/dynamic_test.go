// SPDX-License-Identifier: Apache-2.0

package memory_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/memory"
	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/sdk/drivertest"
)

// dynamicHarness has reply addresses that end with an outage.
func dynamicHarness(m manners) drivertest.Harness {
	d := memory.NewDynamic()
	h := withOutages(harness(d), m)
	begin := h.StopBroker
	h.StopBroker = func(ctx context.Context, t drivertest.TB, namespace string) {
		begin(ctx, t, namespace)
		d.EndReplies(namespace)
	}
	open := h.Open
	h.Open = func(ctx context.Context, t drivertest.TB, namespace string) driver.Conn {
		return &diagnosing{open(ctx, t, namespace)}
	}
	return h
}

// diagnosing has something to tell of a broker.
type diagnosing struct{ driver.Conn }

func (c *diagnosing) Diagnose(ctx context.Context) ([]driver.Finding, error) {
	if s, ok := c.Conn.(*shakyConn); ok {
		if back, _, _ := s.outage.state(); back != nil {
			<-ctx.Done()
			return nil, driver.Errorf(driver.ReasonNotConnected, "the broker is away")
		}
	}
	return []driver.Finding{{Topic: "product", Detail: "a broker in memory"}}, nil
}

func (c *diagnosing) Queues(ctx context.Context, topics []driver.NotificationTopic, pool string) ([]driver.QueueStatus, error) {
	return c.Conn.(driver.QueueInspector).Queues(ctx, topics, pool)
}

// TestDynamicConformance runs the suite as a driver does whose reply addresses end.
func TestDynamicConformance(t *testing.T) {
	drivertest.Run(t, dynamicHarness(polite))
}

// Drivers without stable replies that are right but for one rule.
func TestSuiteFindsDynamicMutants(t *testing.T) {
	for _, m := range []mutant{
		{name: "says nothing of lost calls", rule: "LOST-1", listener: newSilent, timeout: 2 * time.Second},
		{name: "reports lost calls twice", rule: "LOST-1", listener: changedLost(func(d *driver.Delivery) []*driver.Delivery { return []*driver.Delivery{d, d} })},
		{name: "is sure that a lost call did not run", rule: "LOST-1", listener: changedLost(func(d *driver.Delivery) []*driver.Delivery {
			d.Lost.InDoubt = false
			return []*driver.Delivery{d}
		})},
		{name: "wants lost calls done", rule: "LOST-1", listener: changedLost(func(d *driver.Delivery) []*driver.Delivery {
			d.Token = 77
			return []*driver.Delivery{d}
		})},
		{name: "names another call", rule: "LOST-1", listener: changedLost(func(d *driver.Delivery) []*driver.Delivery {
			d.CallID += "x"
			return []*driver.Delivery{d}
		})},
		{name: "loses what was answered", rule: "LOST-2", listener: newPessimist},
		{name: "ends the listener with the address", rule: "LOST-2", away: faint},
		{name: "fails calls that were not sent", rule: "LOST-2", away: hurried},
		{name: "drops calls that were not sent", rule: "LOST-2", away: careless},
		{name: "stops with calls under way", rule: "LOST-3", listener: stopping(func(ctx context.Context, s driver.Stopper) error {
			over, cancel := context.WithCancel(ctx)
			cancel()
			return s.Stop(over)
		})},
		{name: "takes Stop as advice", rule: "LOST-3", listener: newUnstoppable, timeout: 2 * time.Second},
		{name: "stops for ever", rule: "LOST-3", timeout: 2 * time.Second, listener: stopping(func(ctx context.Context, s driver.Stopper) error {
			return s.Stop(context.WithoutCancel(ctx))
		})},
		{name: "diagnoses without a broker", rule: "DIAG-1", conn: findings(driver.Finding{Topic: "product", Detail: "unknown"})},
		{name: "tells a story", rule: "DIAG-3", conn: findings(driver.Finding{Topic: "product", Detail: "one\ntwo"})},
		{name: "tells too much", rule: "DIAG-3", conn: findings(make([]driver.Finding, driver.MaxFindings+1)...)},
	} {
		t.Run(m.rule+" "+m.name, func(t *testing.T) {
			t.Parallel()
			h := dynamicHarness(m.away)
			h.Timeout = m.timeout
			right := h.Open
			h.Open = func(ctx context.Context, tb drivertest.TB, ns string) driver.Conn {
				return m.mutate(right(ctx, tb, ns), nil)
			}
			wantFailed(t, drivertest.Check(h, m.rule), m.rule)
		})
	}
}

// TestSuitePassesTheDynamicReference proves that the mutants fail by their mutation.
func TestSuitePassesTheDynamicReference(t *testing.T) {
	for _, r := range drivertest.Check(dynamicHarness(polite), "LOST-1", "LOST-2", "LOST-3", "DIAG-1", "DIAG-2", "DIAG-3") {
		if r.Status != drivertest.Passed {
			t.Errorf("%s %s: %s %s", r.Rule, r.Name, r.Status, strings.Join(r.Details, "; "))
		}
	}
}

// stopWrapper replaces Poll and Stop.
type stopWrapper struct {
	driver.Listener
	poll pollFunc
	stop func(context.Context, driver.Stopper) error
}

func (w *stopWrapper) Poll(ctx context.Context, max int) ([]*driver.Delivery, error) {
	if w.poll == nil {
		return w.Listener.Poll(ctx, max)
	}
	return w.poll(ctx, max)
}

func (w *stopWrapper) Stop(ctx context.Context) error {
	return w.stop(ctx, w.Listener.(driver.Stopper))
}

func stopping(stop func(context.Context, driver.Stopper) error) func(driver.Listener, driver.Source) driver.Listener {
	return func(l driver.Listener, _ driver.Source) driver.Listener { return &stopWrapper{Listener: l, stop: stop} }
}

// changedLost changes what is said of lost calls.
func changedLost(change func(*driver.Delivery) []*driver.Delivery) func(driver.Listener, driver.Source) driver.Listener {
	return func(l driver.Listener, _ driver.Source) driver.Listener {
		var more []*driver.Delivery // that did not fit
		return &pollWrapper{l, func(ctx context.Context, max int) ([]*driver.Delivery, error) {
			if len(more) > 0 {
				n := min(max, len(more))
				ds := more[:n:n]
				more = more[n:]
				return ds, nil
			}
			ds, err := l.Poll(ctx, max)
			var out []*driver.Delivery
			for _, d := range ds {
				if d.Lost == nil {
					out = append(out, d)
					continue
				}
				out = append(out, change(d)...)
			}
			n := min(max, len(out))
			more = out[n:]
			return out[:n:n], err
		}}
	}
}

// newSilent waits on where it should report.
func newSilent(l driver.Listener, _ driver.Source) driver.Listener {
	return &pollWrapper{l, func(ctx context.Context, max int) ([]*driver.Delivery, error) {
		for {
			ds, err := l.Poll(ctx, max)
			var out []*driver.Delivery
			for _, d := range ds {
				if d.Lost == nil {
					out = append(out, d)
				}
			}
			if len(out) > 0 || err != nil {
				return out, err
			}
		}
	}}
}

// newPessimist reports each call lost that was answered.
func newPessimist(l driver.Listener, _ driver.Source) driver.Listener {
	var answered []*driver.Delivery
	return &pollWrapper{l, func(ctx context.Context, max int) ([]*driver.Delivery, error) {
		if len(answered) > 0 {
			lost := answered[:1:1]
			answered = answered[1:]
			return lost, nil
		}
		ds, err := l.Poll(ctx, max)
		for _, d := range ds {
			if d.Kind == driver.Reply && d.Lost == nil {
				e := driver.Errorf(driver.ReasonNotConnected, "lost")
				e.InDoubt = true
				answered = append(answered, &driver.Delivery{Message: driver.Message{Kind: driver.Reply, CallID: d.CallID}, Lost: e})
			}
		}
		return ds, err
	}}
}

// teller tells always the same, whatever its broker does.
type teller struct {
	driver.Conn
	findings []driver.Finding
}

func (c *teller) Diagnose(context.Context) ([]driver.Finding, error) { return c.findings, nil }

func findings(fs ...driver.Finding) func(driver.Conn, <-chan struct{}) driver.Conn {
	return func(c driver.Conn, _ <-chan struct{}) driver.Conn { return &teller{c, fs} }
}

// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/parleymq/parley/messaging/internal/host"
	"github.com/parleymq/parley/messaging/internal/hosttest"
	"github.com/parleymq/parley/plugin/driver"
)

// TestQueuesOutliveProcesses: what ends with a process is asked again of the next one.
func TestQueuesOutliveProcesses(t *testing.T) {
	h := newFakeHost(t, func(o *host.Options) { o.BreakerFailures = -1 })
	c, err := h.Open(within(t, 20*time.Second), host.OpenRequest{Config: driver.Config{Driver: "fake"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(within(t, 20*time.Second)) //nolint:errcheck // the test is over
	topics := []driver.NotificationTopic{{Exchange: "e", Topic: "t", Priority: "info"}}
	ask := func(ctx context.Context) error {
		queues, err := c.Queues(ctx, topics, "")
		if err == nil && (len(queues) != 1 || queues[0].Topics[0] != topics[0]) {
			return errors.New("another answer")
		}
		return err
	}
	ctx := within(t, 60*time.Second)
	stop, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				ended <- nil
				return
			default:
			}
			if err := ask(ctx); err != nil {
				ended <- err
				return
			}
		}
	}()
	for range 3 {
		before := c.Restarts()
		if err := h.SignalForTest("fake", syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		hosttest.Eventually(t, "another process", func() bool { return c.Restarts() > before })
	}
	close(stop)
	if err := <-ended; err != nil {
		t.Errorf("asked over restarts: %v", err)
	}
	if err := ask(ctx); err != nil {
		t.Error(err)
	}
	over, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := c.Queues(over, topics, ""); err == nil {
		t.Error("it did not end with its context")
	}
}

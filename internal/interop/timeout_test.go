// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
	"github.com/parleymq/parley/plugin/driver"
)

// slow is an argument of "sleep" that no timeout here waits for.
func slow() map[string]any { return map[string]any{"seconds": 3} }

// testGoTimesOut asks what takes too long, and whom nobody serves.
func testGoTimesOut(t *testing.T, p *peers) {
	const limit = 500 * time.Millisecond
	var both sync.WaitGroup
	defer both.Wait()
	for name, c := range map[string]*messaging.RPCClient{
		"too slow":      p.goClient.With(messaging.Timeout(limit)),
		"nobody serves": p.goClient.With(messaging.Timeout(limit), messaging.Topic("nobody")),
	} {
		both.Go(func() {
			start := time.Now()
			err := c.Call(t.Context(), "sleep", slow(), nil)
			if !errors.Is(err, messaging.ErrNoReply) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: got %v, want ErrNoReply", name, err)
			}
			within(t, name, time.Since(start), limit, limit)
		})
	}
}

func testPythonTimesOut(t *testing.T, p *peers) {
	const limit = time.Second
	var both sync.WaitGroup
	defer both.Wait()
	for name, topic := range map[string]string{"too slow": goTopic, "nobody serves": "nobody"} {
		both.Go(func() {
			_, err := p.call(t, peertest.Request{Topic: topic, Method: "sleep", Args: slow(), Timeout: limit})
			within(t, name, pythonTimeout(t, name, err), limit, limit)
		})
	}
}

// pythonTimeout returns after what time a Python caller gave up.
func pythonTimeout(t *testing.T, name string, err error) time.Duration {
	t.Helper()
	got, ok := errors.AsType[*peertest.PythonError](err)
	if !ok || got.Class != "MessagingTimeout" {
		t.Errorf("%s: got %v, want MessagingTimeout", name, err)
		return 0
	}
	return got.Elapsed
}

// within fails the test when something took less than the least or more than the most, give or
// take what a busy machine needs.
func within(t *testing.T, name string, took, least, most time.Duration) {
	t.Helper()
	if took < least || took > most+slack {
		t.Errorf("%s: it took %v, want %v to %v", name, took, least, most)
	}
}

func testGoUndeliverable(t *testing.T, p *peers) {
	if p.lacks(t, testbed.Need(driver.CapMandatory)) {
		return
	}
	c := p.goClient.With(messaging.Server("nobody"), messaging.Mandatory())
	for name, err := range map[string]error{
		"call": c.Call(soon(t), "echo", nil, nil),
		"cast": c.Cast(soon(t), "echo", nil),
	} {
		if !errors.Is(err, messaging.ErrUndeliverable) {
			t.Errorf("%s: got %v, want ErrUndeliverable", name, err)
		}
	}
}

func testPythonUndeliverable(t *testing.T, p *peers) {
	if p.lacks(t, testbed.Need(driver.CapMandatory)) {
		return
	}
	_, err := p.call(t, peertest.Request{Server: "nobody", Method: "echo", AtLeastOnce: true, Timeout: patience})
	if got, ok := errors.AsType[*peertest.PythonError](err); !ok || got.Class != "MessageUndeliverable" {
		t.Errorf("to a missing server: got %v", err)
	}
	// The same to one that is there.
	if got, err := p.callText(t, peertest.Request{Server: "go2", Method: "whoami", AtLeastOnce: true}); err != nil || got != "go2" {
		t.Errorf("got %q, %v", got, err)
	}
}

// SPDX-License-Identifier: Apache-2.0

package peertest

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"
)

// PythonListenerOptions says what a Python notification listener listens to.
type PythonListenerOptions struct {
	URL     string            // transport URL
	Targets []PythonListenTo  // at least one
	Levels  []string          // default: all seven
	Pool    string            // default: none
	Batch   *PythonBatch      // makes it a batch listener
	Filter  map[string]string // of the fields publisher_id and event_type
	// AllowRequeue gives back what a handler asks for. Requeue is how many calls of handlers ask for
	// it, from the first on; -1 is all.
	AllowRequeue bool
	Requeue      int
	// Conf is the configuration by group and option.
	Conf map[string]map[string]any
}

// PythonListenTo is a target of a listener.
type PythonListenTo struct {
	Topic    string `json:"topic"`
	Exchange string `json:"exchange"` // default: oslo.messaging's control_exchange
}

// PythonBatch is how large batches are, and how long they wait.
type PythonBatch struct {
	Size    int
	Timeout time.Duration
}

// PythonListener is an oslo.messaging notification listener in a process of its own.
type PythonListener struct{ peer *pythonPeer }

// Noted is one notification that a handler of a Python listener was given.
type Noted struct {
	Level string `json:"level"`
	// Call is the number of the handler's call: those of one batch have the same.
	Call int `json:"call"`
	// Requeued says that the handler asked for it to come again.
	Requeued    bool           `json:"requeued"`
	Ctxt        map[string]any `json:"ctxt"`
	PublisherID *string        `json:"publisher_id"`
	EventType   *string        `json:"event_type"`
	// Payload is text as Python writes it, which JSON proper may not be.
	Payload  string            `json:"payload"`
	Metadata map[string]string `json:"metadata"`
}

// StartPythonListener starts a listener and returns when its queues are declared and bound, so
// that nothing sent from then on is lost. The caller closes it.
func StartPythonListener(ctx context.Context, python Python, o PythonListenerOptions) (*PythonListener, error) {
	all := map[string]any{
		"targets": o.Targets, "levels": o.Levels, "pool": o.Pool, "filter": o.Filter,
		"allow_requeue": o.AllowRequeue, "requeue": o.Requeue, "conf": o.Conf,
	}
	if o.Batch != nil {
		all["batch"] = map[string]any{"size": o.Batch.Size, "timeout": o.Batch.Timeout.Seconds()}
	}
	options, err := json.Marshal(all)
	if err != nil {
		return nil, fmt.Errorf("write options of a Python listener: %w", err)
	}
	peer, err := startPythonPeer(ctx, python, "listener.py", o.URL, string(options))
	if err != nil {
		return nil, err
	}
	return &PythonListener{peer}, nil
}

// RunPythonListener is StartPythonListener for one test.
func RunPythonListener(tb testing.TB, python Python, o PythonListenerOptions) *PythonListener {
	tb.Helper()
	l, err := StartPythonListener(tb.Context(), python, o)
	require(tb, err)
	tb.Cleanup(func() { closePeer(tb, l.peer) })
	return l
}

// Received returns what the handlers were given of an event type, or of all when it is empty, in
// the order in which they ran.
func (l *PythonListener) Received(ctx context.Context, eventType string) ([]Noted, error) {
	a, err := l.peer.do(ctx, map[string]any{"op": "received", "event_type": eventType})
	if err != nil {
		return nil, err
	}
	var all []Noted
	if err := json.Unmarshal(a.Result, &all); err != nil {
		return nil, fmt.Errorf("read what a Python listener received: %w", err)
	}
	return all, nil
}

// WaitReceived waits until the handlers were given at least n of an event type, or of all.
func (l *PythonListener) WaitReceived(ctx context.Context, eventType string, n int) ([]Noted, error) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		all, err := l.Received(ctx, eventType)
		if err != nil || len(all) >= n {
			return all, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return all, fmt.Errorf("the Python listener received %d of %d, %q: %w", len(all), n, eventType, context.Cause(ctx))
		}
	}
}

// Stop stops listening and waits for running handlers. Serve starts it again.
func (l *PythonListener) Stop(ctx context.Context) error {
	_, err := l.peer.do(ctx, map[string]any{"op": "stop"})
	return err
}

// Serve starts listening again after Stop.
func (l *PythonListener) Serve(ctx context.Context) error {
	_, err := l.peer.do(ctx, map[string]any{"op": "start"})
	return err
}

// Usage tells what the process has used so far.
func (l *PythonListener) Usage(ctx context.Context) (Usage, error) { return l.peer.usage(ctx) }

// Kill ends the process as a crash would.
func (l *PythonListener) Kill() { l.peer.process.kill() }

// Output is the end of what the process logged.
func (l *PythonListener) Output() string { return l.peer.process.output.String() }

// Close ends the process.
func (l *PythonListener) Close() error { return l.peer.close() }

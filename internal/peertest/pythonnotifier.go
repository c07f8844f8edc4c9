// SPDX-License-Identifier: Apache-2.0

package peertest

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
)

// PythonNotifierOptions says how a Python notifier connects.
type PythonNotifierOptions struct {
	URL string // transport URL
	// Conf is the configuration by group and option.
	Conf map[string]map[string]any
}

// PythonNotifier is an oslo.messaging notifier in a process of its own.
type PythonNotifier struct{ peer *pythonPeer }

// Event is one notification for a Python notifier to send. What is zero is left to
// oslo.messaging, or to notifier.py.
type Event struct {
	Driver      string // "messaging", "messagingv2"
	PublisherID string
	Topics      []string
	Level       string // a method of the notifier, "info"
	EventType   string
	Payload     any
	// PayloadJSON is used in place of Payload for what JSON proper cannot say, such as NaN.
	PayloadJSON string
	Ctxt        map[string]any
	// Redacts makes the context an object that publishes all but auth_token, as OpenStack's
	// contexts are. Without it, it is a dictionary.
	Redacts bool
	// Numbered sends so many, whose payloads are their numbers from 0 on.
	Numbered int
}

// StartPythonNotifier starts a notifier and returns when it takes notifications. It connects to the
// broker at its first one. The caller closes it.
func StartPythonNotifier(ctx context.Context, python Python, o PythonNotifierOptions) (*PythonNotifier, error) {
	options, err := json.Marshal(map[string]any{"conf": o.Conf})
	if err != nil {
		return nil, fmt.Errorf("write options of a Python notifier: %w", err)
	}
	peer, err := startPythonPeer(ctx, python, "notifier.py", o.URL, string(options))
	if err != nil {
		return nil, err
	}
	return &PythonNotifier{peer}, nil
}

// RunPythonNotifier is StartPythonNotifier for one test.
func RunPythonNotifier(tb testing.TB, python Python, o PythonNotifierOptions) *PythonNotifier {
	tb.Helper()
	n, err := StartPythonNotifier(tb.Context(), python, o)
	require(tb, err)
	tb.Cleanup(func() { closePeer(tb, n.peer) })
	return n
}

// Notify sends. What oslo.messaging would only log is returned as a *PythonError.
func (n *PythonNotifier) Notify(ctx context.Context, e Event) error {
	_, err := n.peer.do(ctx, map[string]any{
		"op": "notify", "driver": e.Driver, "publisher_id": e.PublisherID, "topics": e.Topics, "level": e.Level,
		"event_type": e.EventType, "payload": e.Payload, "payload_json": e.PayloadJSON,
		"ctxt": e.Ctxt, "redacts": e.Redacts, "numbered": e.Numbered,
	})
	return err
}

// Usage tells what the process has used so far.
func (n *PythonNotifier) Usage(ctx context.Context) (Usage, error) { return n.peer.usage(ctx) }

// Kill ends the process as a crash would.
func (n *PythonNotifier) Kill() { n.peer.process.kill() }

// Output is the end of what the process logged.
func (n *PythonNotifier) Output() string { return n.peer.process.output.String() }

// Close ends the process.
func (n *PythonNotifier) Close() error { return n.peer.close() }

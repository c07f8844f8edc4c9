// SPDX-License-Identifier: Apache-2.0

package peertest

import (
	"context"
	"encoding/json"
	"fmt"
	"syscall"
	"testing"
	"time"
)

// PythonServerOptions says what a Python server serves.
type PythonServerOptions struct {
	URL      string // transport URL
	Topic    string
	Server   string
	Exchange string // default: oslo.messaging's control_exchange
	// AllowedRemoteModules are the modules whose exceptions the server rebuilds when it calls
	// others, which its method "relay" does.
	AllowedRemoteModules []string
	// Conf is the configuration by group and option, such as
	// {"oslo_messaging_rabbit": {"rabbit_quorum_queue": true}}.
	Conf map[string]map[string]any
}

// PythonServer is an oslo.messaging RPC server in a process of its own. Its
// methods are those of the endpoints in python/server.py.
type PythonServer struct{ peer *pythonPeer }

// Record is one call of the method "record" that a Python server saw.
type Record struct {
	Server   string          `json:"server"`
	Endpoint string          `json:"endpoint"` // "1.0", "/2.3" or "ns1/1.5"
	Ctxt     map[string]any  `json:"ctxt"`
	Args     json.RawMessage `json:"args"`
}

// Usage is what a Python peer has used of the machine since it started.
type Usage struct {
	CPU      time.Duration // user and system time of the whole process
	MaxRSSKB int64
}

// StartPythonServer starts a server and returns when its queues are declared and
// bound, so that nothing sent from then on is lost. The caller closes it.
func StartPythonServer(ctx context.Context, python Python, o PythonServerOptions) (*PythonServer, error) {
	options, err := json.Marshal(map[string]any{
		"exchange": o.Exchange, "allowed_remote_exmods": o.AllowedRemoteModules, "conf": o.Conf,
	})
	if err != nil {
		return nil, fmt.Errorf("write options of a Python server: %w", err)
	}
	peer, err := startPythonPeer(ctx, python, "server.py", o.URL, o.Topic, o.Server, string(options))
	if err != nil {
		return nil, err
	}
	return &PythonServer{peer}, nil
}

// RunPythonServer is StartPythonServer for one test.
func RunPythonServer(tb testing.TB, python Python, o PythonServerOptions) *PythonServer {
	tb.Helper()
	s, err := StartPythonServer(tb.Context(), python, o)
	require(tb, err)
	tb.Cleanup(func() { closePeer(tb, s.peer) })
	return s
}

// closePeer closes the peer of a test and shows its output when the test failed.
func closePeer(tb testing.TB, p *pythonPeer) {
	if err := p.close(); err != nil {
		tb.Error(err)
	}
	if text := p.process.output.String(); tb.Failed() && text != "" {
		tb.Logf("output of %s:\n%s", p.process.name, text)
	}
}

// Received returns the calls, casts and fanouts of the method "record", in the
// order in which their handlers ran.
func (s *PythonServer) Received(ctx context.Context) ([]Record, error) {
	a, err := s.peer.do(ctx, map[string]any{"op": "received"})
	if err != nil {
		return nil, err
	}
	var records []Record
	if err := json.Unmarshal(a.Result, &records); err != nil {
		return nil, fmt.Errorf("read what a Python server received: %w", err)
	}
	return records, nil
}

// WaitReceived waits until the server has at least n records.
func (s *PythonServer) WaitReceived(ctx context.Context, n int) ([]Record, error) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		records, err := s.Received(ctx)
		if err != nil || len(records) >= n {
			return records, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return records, fmt.Errorf("the Python server received %d of %d: %w", len(records), n, context.Cause(ctx))
		}
	}
}

// Stop stops serving and waits for running handlers, as an oslo.messaging
// server does when its service ends. Serve starts it again.
func (s *PythonServer) Stop(ctx context.Context) error {
	_, err := s.peer.do(ctx, map[string]any{"op": "stop"})
	return err
}

// Serve starts serving again after Stop.
func (s *PythonServer) Serve(ctx context.Context) error {
	_, err := s.peer.do(ctx, map[string]any{"op": "start"})
	return err
}

// Usage tells what the process has used so far.
func (s *PythonServer) Usage(ctx context.Context) (Usage, error) { return s.peer.usage(ctx) }

// Kill ends the process as a crash would.
func (s *PythonServer) Kill() { s.peer.process.kill() }

// Pause stops the process from running.
func (s *PythonServer) Pause() error { return s.peer.process.signal(syscall.SIGSTOP) }

// Resume lets a paused process go on.
func (s *PythonServer) Resume() error { return s.peer.process.signal(syscall.SIGCONT) }

// Output is the end of what the process logged.
func (s *PythonServer) Output() string { return s.peer.process.output.String() }

// Close ends the process.
func (s *PythonServer) Close() error { return s.peer.close() }

func (p *pythonPeer) usage(ctx context.Context) (Usage, error) {
	a, err := p.do(ctx, map[string]any{"op": "usage"})
	if err != nil {
		return Usage{}, err
	}
	var used struct {
		CPU      float64 `json:"cpu"`
		MaxRSSKB int64   `json:"max_rss_kb"`
	}
	if err := json.Unmarshal(a.Result, &used); err != nil {
		return Usage{}, fmt.Errorf("read the usage of a Python peer: %w", err)
	}
	return Usage{CPU: seconds(used.CPU), MaxRSSKB: used.MaxRSSKB}, nil
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// PID is the server's process, for measuring what it uses.
func (s *PythonServer) PID() int { return s.peer.process.pid() }

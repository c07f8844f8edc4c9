// SPDX-License-Identifier: Apache-2.0

package peertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"
)

// PythonClientOptions says how a Python client connects.
type PythonClientOptions struct {
	URL string // transport URL
	// AllowedRemoteModules are the modules whose exceptions the client rebuilds.
	// The module of the Python server's own exceptions is "peererrors".
	AllowedRemoteModules []string
	// Conf is the configuration by group and option.
	Conf map[string]map[string]any
}

// PythonClient is an oslo.messaging RPC client in a process of its own. Its
// methods may be called concurrently.
type PythonClient struct{ peer *pythonPeer }

// Request is one message for a Python client to send. What is zero is left to
// oslo.messaging.
type Request struct {
	Topic       string
	Server      string
	Exchange    string
	Namespace   string
	Version     string
	VersionCap  string
	Timeout     time.Duration
	Monitor     time.Duration // call_monitor_timeout; whole seconds are sent as an integer
	Retry       *int
	AtLeastOnce bool
	Ctxt        map[string]any
	Method      string
	Args        map[string]any
	// ArgsJSON is used in place of Args for what JSON proper cannot say, such as NaN: a JSON
	// object in the dialect of Python.
	ArgsJSON string
}

// Reply is what a Python caller got.
type Reply struct {
	// Result is JSON text, null when Repr is set.
	Result json.RawMessage
	// Repr is how Python writes a result that JSON cannot hold, such as NaN.
	Repr    string
	Elapsed time.Duration
}

// StartPythonClient starts a client and returns when it takes requests. It
// connects to the broker at its first one. The caller closes it.
func StartPythonClient(ctx context.Context, python Python, o PythonClientOptions) (*PythonClient, error) {
	options, err := json.Marshal(map[string]any{"allowed_remote_exmods": o.AllowedRemoteModules, "conf": o.Conf})
	if err != nil {
		return nil, fmt.Errorf("write options of a Python client: %w", err)
	}
	peer, err := startPythonPeer(ctx, python, "client.py", o.URL, string(options))
	if err != nil {
		return nil, err
	}
	return &PythonClient{peer}, nil
}

// RunPythonClient is StartPythonClient for one test.
func RunPythonClient(tb testing.TB, python Python, o PythonClientOptions) *PythonClient {
	tb.Helper()
	c, err := StartPythonClient(tb.Context(), python, o)
	require(tb, err)
	tb.Cleanup(func() { closePeer(tb, c.peer) })
	return c
}

// Call sends a request and waits for its reply. An exception in the caller is
// returned as a *PythonError.
func (c *PythonClient) Call(ctx context.Context, r Request) (Reply, error) {
	return c.send(ctx, "call", r)
}

// Cast sends a request to one server and waits for no reply.
func (c *PythonClient) Cast(ctx context.Context, r Request) error {
	_, err := c.send(ctx, "cast", r)
	return err
}

// Fanout sends a request to all servers of a topic.
func (c *PythonClient) Fanout(ctx context.Context, r Request) error {
	_, err := c.send(ctx, "fanout", r)
	return err
}

func (c *PythonClient) send(ctx context.Context, op string, r Request) (Reply, error) {
	a, err := c.peer.do(ctx, r.command(op))
	if err != nil {
		return Reply{}, err
	}
	return Reply{Result: a.Result, Repr: a.Repr, Elapsed: a.elapsed()}, nil
}

func (r Request) command(op string) map[string]any {
	command := map[string]any{
		"op":            op,
		"topic":         r.Topic,
		"server":        r.Server,
		"exchange":      r.Exchange,
		"namespace":     r.Namespace,
		"version":       r.Version,
		"version_cap":   r.VersionCap,
		"at_least_once": r.AtLeastOnce,
		"ctxt":          r.Ctxt,
		"method":        r.Method,
		"args":          r.Args,
		"args_json":     r.ArgsJSON,
	}
	if r.Timeout != 0 {
		command["timeout"] = r.Timeout.Seconds()
	}
	if r.Monitor != 0 {
		command["monitor"] = r.Monitor.Seconds() // JSON writes a whole one as an integer
	}
	if r.Retry != nil {
		command["retry"] = *r.Retry
	}
	return command
}

// Bench is a load for a Python client. It ends after Duration or Calls,
// whichever is set and comes first.
type Bench struct {
	Request                   // Method defaults to "value"
	Cast        bool          // casts in place of calls
	Size        int           // bytes of payload, when Args is nil
	Concurrency int           // callers at a time, default 1
	Duration    time.Duration // how long
	Calls       int           // how many in all
	Warmup      int           // calls before the measurement
}

// BenchResult is what a bench measured.
type BenchResult struct {
	Calls      int // that succeeded
	Errors     int
	FirstError string
	Elapsed    time.Duration
	P50        time.Duration
	P99        time.Duration
	Max        time.Duration
	CPU        time.Duration // of the client's process
}

// Bench runs a load and returns what it measured.
func (c *PythonClient) Bench(ctx context.Context, b Bench) (BenchResult, error) {
	command := b.command("bench")
	command["cast"] = b.Cast
	command["size"] = b.Size
	command["concurrency"] = b.Concurrency
	command["seconds"] = b.Duration.Seconds()
	command["calls"] = b.Calls
	command["warmup"] = b.Warmup
	if b.Duration <= 0 && b.Calls <= 0 {
		return BenchResult{}, errors.New("a bench needs a Duration or a number of Calls")
	}
	a, err := c.peer.do(ctx, command)
	if err != nil {
		return BenchResult{}, err
	}
	var r struct {
		Calls      int     `json:"calls"`
		Errors     int     `json:"errors"`
		FirstError string  `json:"first_error"`
		Elapsed    float64 `json:"elapsed"`
		P50        float64 `json:"p50"`
		P99        float64 `json:"p99"`
		Max        float64 `json:"max"`
		CPU        float64 `json:"cpu"`
	}
	if err := json.Unmarshal(a.Result, &r); err != nil {
		return BenchResult{}, fmt.Errorf("read the result of a bench: %w", err)
	}
	return BenchResult{
		Calls: r.Calls, Errors: r.Errors, FirstError: r.FirstError, Elapsed: seconds(r.Elapsed),
		P50: seconds(r.P50), P99: seconds(r.P99), Max: seconds(r.Max), CPU: seconds(r.CPU),
	}, nil
}

// Cleanup closes the client's connections, as oslo.messaging does it.
func (c *PythonClient) Cleanup(ctx context.Context) error {
	_, err := c.peer.do(ctx, map[string]any{"op": "cleanup"})
	return err
}

// Usage tells what the process has used so far.
func (c *PythonClient) Usage(ctx context.Context) (Usage, error) { return c.peer.usage(ctx) }

// Kill ends the process as a crash would.
func (c *PythonClient) Kill() { c.peer.process.kill() }

// Pause stops the process from running.
func (c *PythonClient) Pause() error { return c.peer.process.signal(syscall.SIGSTOP) }

// Resume lets a paused process go on.
func (c *PythonClient) Resume() error { return c.peer.process.signal(syscall.SIGCONT) }

// Output is the end of what the process logged.
func (c *PythonClient) Output() string { return c.peer.process.output.String() }

// Close ends the process.
func (c *PythonClient) Close() error { return c.peer.close() }

// PID is the client's process, for measuring what it uses.
func (c *PythonClient) PID() int { return c.peer.process.pid() }

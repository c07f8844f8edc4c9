// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/parleymq/parley/internal/bench"
	"github.com/parleymq/parley/internal/peertest"
)

// contender is a client and a server, each in a process of its own.
type contender interface {
	name() string
	run(ctx context.Context, load bench.Load) (bench.Result, error)
	pids() []int
	close() error
}

// worker is a process that speaks JSON lines.
type worker struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Scanner
	address string // where it listens, if it says so
}

// startWorker starts a program with its arguments and returns when it is ready.
func startWorker(program []string, s bench.Setup) (*worker, error) {
	cmd := exec.Command(program[0], program[1:]...) //nolint:noctx // it ends when its input does, see close
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	w := &worker{cmd: cmd, in: in, out: bufio.NewScanner(out)}
	var ready bench.Ready
	if err := w.ask(s, &ready); err != nil {
		return nil, errors.Join(fmt.Errorf("%s did not start: %w", s.Role, err), w.close())
	}
	w.address = ready.Address
	return w, nil
}

// ask writes a line and reads the answer.
func (w *worker) ask(question, answer any) error {
	if err := json.NewEncoder(w.in).Encode(question); err != nil {
		return err
	}
	if !w.out.Scan() {
		return errors.Join(errors.New("the worker ended"), w.out.Err())
	}
	return json.Unmarshal(w.out.Bytes(), answer)
}

// close ends the worker by the end of its input, or by a signal when it does not listen.
func (w *worker) close() error {
	_ = w.in.Close() // it may have ended already
	timer := time.AfterFunc(15*time.Second, func() { _ = w.cmd.Process.Kill() })
	defer timer.Stop()
	return w.cmd.Wait()
}

// pair is a contender made of two workers.
type pair struct {
	title          string
	server, client *worker
}

// startPair starts the two workers of a kind.
func startPair(title, kind string, program []string, s bench.Setup) (*pair, error) {
	s.Topic, s.Server = "bench_"+title, "one"
	p := &pair{title: title}
	var err error
	s.Role = kind + "-server"
	if p.server, err = startWorker(program, s); err != nil {
		return nil, err
	}
	s.Role, s.URL = kind+"-client", cmp.Or(p.server.address, s.URL)
	if p.client, err = startWorker(program, s); err != nil {
		return nil, errors.Join(err, p.server.close())
	}
	return p, nil
}

func (p *pair) name() string { return p.title }

func (p *pair) run(_ context.Context, load bench.Load) (bench.Result, error) {
	var r bench.Result
	err := p.client.ask(load, &r)
	return r, err
}

func (p *pair) pids() []int { return []int{p.client.cmd.Process.Pid, p.server.cmd.Process.Pid} }

func (p *pair) close() error { return errors.Join(p.client.close(), p.server.close()) }

// pythonPair is a contender in Python.
type pythonPair struct {
	release string
	topic   string
	server  *peertest.PythonServer
	client  *peertest.PythonClient
	args    map[string]any
}

// pythonSetup is what a contender in Python needs.
type pythonSetup struct {
	release string
	url     string
	conf    map[string]map[string]any
}

func startPython(ctx context.Context, s pythonSetup, size int) (*pythonPair, error) {
	python, err := peertest.FindPython(s.release)
	if err != nil {
		return nil, err
	}
	topic := "bench_python_" + s.release
	server, err := peertest.StartPythonServer(ctx, python, peertest.PythonServerOptions{URL: s.url, Topic: topic, Server: "one", Conf: s.conf})
	if err != nil {
		return nil, err
	}
	client, err := peertest.StartPythonClient(ctx, python, peertest.PythonClientOptions{URL: s.url, Conf: s.conf})
	if err != nil {
		return nil, errors.Join(err, server.Close())
	}
	return &pythonPair{
		release: s.release, topic: topic, server: server, client: client,
		args: map[string]any{"payload": bench.Payload(size)},
	}, nil
}

func (p *pythonPair) name() string { return "python " + p.release }

func (p *pythonPair) run(ctx context.Context, load bench.Load) (bench.Result, error) {
	r, err := p.client.Bench(ctx, peertest.Bench{
		Request:     peertest.Request{Topic: p.topic, Method: "echo", Args: p.args, Version: "1.0"},
		Concurrency: load.InFlight, Duration: time.Duration(load.Seconds * float64(time.Second)),
	})
	return bench.Result{
		Calls: r.Calls, Errors: r.Errors, Error: r.FirstError, Seconds: r.Elapsed.Seconds(),
		P50: float64(r.P50) / float64(time.Microsecond), P99: float64(r.P99) / float64(time.Microsecond),
	}, err
}

func (p *pythonPair) pids() []int { return []int{p.client.PID(), p.server.PID()} }

func (p *pythonPair) close() error { return errors.Join(p.client.Close(), p.server.Close()) }

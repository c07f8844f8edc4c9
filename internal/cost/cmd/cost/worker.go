// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/parleymq/parley/internal/cost"
)

// closeTimeout is how long a worker may take to end after its input did.
const closeTimeout = 30 * time.Second

// worker is an application that is measured.
type worker struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

// startWorker starts an application and returns what it took, from before the start.
func startWorker(program string, s cost.Setup) (*worker, cost.Started, time.Duration, error) {
	var started cost.Started
	cmd := exec.Command(program) //nolint:noctx // it ends when its input does, see close
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, started, 0, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, started, 0, err
	}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, started, 0, err
	}
	w := &worker{cmd: cmd, in: in, out: bufio.NewScanner(out)}
	err = w.ask(s, &started)
	took := time.Since(begin)
	if err == nil && started.Error != "" {
		err = errors.New(started.Error)
	}
	if err != nil {
		return nil, started, took, errors.Join(err, w.close())
	}
	return w, started, took, nil
}

// order makes the worker do something and measure itself.
func (w *worker) order(o cost.Order) (m cost.Measured, err error) {
	if err = w.ask(o, &m); err == nil && m.Error != "" {
		err = errors.New(m.Error)
	}
	return m, err
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
	timer := time.AfterFunc(closeTimeout, func() { _ = w.cmd.Process.Kill() })
	defer timer.Stop()
	return w.cmd.Wait()
}

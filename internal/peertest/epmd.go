// SPDX-License-Identifier: Apache-2.0

package peertest

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

// epmd is an Erlang port mapper of our own. Without one the first node would
// start a daemon that outlives it, and that is nobody's child.
type epmd struct {
	port    int
	process *process
}

func startEPMD(ctx context.Context, port int, env []string) (*epmd, error) {
	path, err := exec.LookPath("epmd")
	if err != nil {
		return nil, missing("the Erlang port mapper epmd", err)
	}
	p, err := startProcess(processSpec{
		name: "epmd",
		path: path,
		args: []string{"-address", "127.0.0.1", "-port", strconv.Itoa(port)},
		env:  env,
	})
	if err != nil {
		return nil, err
	}
	e := &epmd{port: port, process: p}
	if err := p.waitListening(ctx, loopback(port)); err != nil {
		p.kill()
		return nil, err
	}
	return e, nil
}

// close ends the mapper. It keeps nothing, so a kill is a clean end.
func (e *epmd) close() {
	_ = e.process.signal(syscall.SIGTERM)
	e.process.kill()
}

// waitListening blocks until something accepts connections on addr.
func (p *process) waitListening(ctx context.Context, addr string) error {
	var dialer net.Dialer
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := dialer.DialContext(ctx, "tcp", addr)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-tick.C:
		case <-p.exited:
			return fmt.Errorf("%s ended (%v) before it listened on %s; its output:\n%s", p.name, p.cmd.ProcessState, addr, p.output.String())
		case <-ctx.Done():
			return fmt.Errorf("%s does not listen on %s: %w", p.name, addr, context.Cause(ctx))
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// What a server says begins with one of these.
const (
	saysReady = "ready"
	saysHeard = "heard the fanout"
)

// process is a server, as the demo sees it.
type process struct {
	name  string
	cmd   *exec.Cmd
	stdin io.Closer
	lines chan string // what it says; closed when it has ended
}

// start runs this program again, as a server, and returns when it is ready.
func start(ctx context.Context, s settings, name string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "-serve", name, "-url", s.url, "-driver-path", s.path) //nolint:noctx // stop ends it
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{name: name, cmd: cmd, stdin: stdin, lines: make(chan string, 16)}
	go func() { // ends with the process
		defer close(p.lines)
		for in := bufio.NewScanner(stdout); in.Scan(); {
			p.lines <- in.Text()
		}
	}()
	text, err := p.expect(ctx, saysReady)
	if err != nil {
		return nil, errors.Join(err, p.stop())
	}
	say("%s is %s", name, text)
	return p, nil
}

// expect waits for the server's next line, which must begin as given.
func (p *process) expect(ctx context.Context, begin string) (string, error) {
	select {
	case text, ok := <-p.lines:
		if !ok || !strings.HasPrefix(text, begin) {
			return "", fmt.Errorf("%s said %q, not %q", p.name, text, begin)
		}
		return text, nil
	case <-ctx.Done():
		return "", fmt.Errorf("%s did not say %q: %w", p.name, begin, ctx.Err())
	}
}

// kill ends the server as a crash would.
func (p *process) kill() error {
	say("kill -9 %d: the program of %s", p.cmd.Process.Pid, p.name)
	return p.cmd.Process.Kill()
}

// stop asks the server to end, by the end of its standard input, and sees to it.
func (p *process) stop() error {
	_ = p.stdin.Close() // it may have ended already
	late := time.AfterFunc(10*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer late.Stop()
	for range p.lines { // until it has ended
	}
	return p.cmd.Wait()
}

// SPDX-License-Identifier: Apache-2.0

package peertest

import (
	"bufio"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

//go:embed python/*.py
var scripts embed.FS

const (
	pythonStartTimeout = 2 * time.Minute // a busy machine takes half a minute to import what it needs
	pythonLineLimit    = 256 << 20       // bytes; one line carries a whole result
)

// PythonError is an exception that a Python peer met, as it names it.
type PythonError struct {
	Class   string // its type's name
	Module  string // its type's module
	Message string // its text
	ExcType string // for a RemoteError, the class at the server
	Value   string // for a RemoteError, the text at the server
	// Traceback is, for a RemoteError, the server's, one entry a line.
	Traceback []string
	Args      []any          // what it was made of
	Kwargs    map[string]any // its attribute of that name, as OpenStack's own exceptions have it
	Elapsed   time.Duration
}

func (e *PythonError) Error() string {
	if e.ExcType != "" {
		return fmt.Sprintf("python %s.%s(%s): %s", e.Module, e.Class, e.ExcType, e.Message)
	}
	return fmt.Sprintf("python %s.%s: %s", e.Module, e.Class, e.Message)
}

// pythonPeer is one Python process that takes JSON commands on its standard
// input and answers with JSON lines.
type pythonPeer struct {
	dir     string
	process *process
	stdin   *os.File
	stdout  *os.File
	reading chan struct{} // closed when the reader has ended

	write sync.Mutex // one command line at a time

	mu      sync.Mutex
	last    int
	waiting map[int]chan pythonAnswer
}

// pythonAnswer is one line from a peer.
type pythonAnswer struct {
	ID      *int            `json:"id"`
	Ready   bool            `json:"ready"`
	OK      bool            `json:"ok"`
	Result  json.RawMessage `json:"result"`
	Repr    string          `json:"repr"`
	Elapsed float64         `json:"elapsed"`
	Class   string          `json:"class"`
	Module  string          `json:"module"`
	Message string          `json:"message"`
	ExcType string          `json:"exc_type"`
	Value   string          `json:"value"`

	Traceback []string       `json:"traceback"`
	Args      []any          `json:"args"`
	Kwargs    map[string]any `json:"kwargs"`
}

func (a pythonAnswer) elapsed() time.Duration {
	return time.Duration(a.Elapsed * float64(time.Second))
}

// startPythonPeer starts a script and returns when it says that it is ready.
func startPythonPeer(ctx context.Context, python Python, script string, args ...string) (*pythonPeer, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, pythonStartTimeout,
		fmt.Errorf("not ready within %v", pythonStartTimeout))
	defer cancel()

	dir, err := writeScripts()
	if err != nil {
		return nil, err
	}
	p := &pythonPeer{dir: dir, reading: make(chan struct{}), waiting: make(map[int]chan pythonAnswer)}
	if err := p.start(python, script, args); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	ready := make(chan struct{})
	go p.read(ready)
	select {
	case <-ready:
		return p, nil
	case <-p.process.exited:
		err = fmt.Errorf("it ended: %v", p.process.cmd.ProcessState)
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	err = fmt.Errorf("start %s with oslo.messaging %s: %w; its output:\n%s", script, python.Name, err, p.process.output)
	return nil, errors.Join(err, p.close())
}

// start starts the process with pipes of its own, so that Wait depends on
// nobody reading them.
func (p *pythonPeer) start(python Python, script string, args []string) error {
	childIn, stdin, err := os.Pipe()
	if err != nil {
		return err
	}
	defer closeQuietly(childIn)
	stdout, childOut, err := os.Pipe()
	if err != nil {
		closeQuietly(stdin)
		return err
	}
	defer closeQuietly(childOut)
	p.stdin, p.stdout = stdin, stdout
	p.process, err = startProcess(processSpec{
		name:   script + " (oslo.messaging " + python.Name + ")",
		path:   python.Path,
		args:   append([]string{"-W", "ignore", filepath.Join(p.dir, script)}, args...),
		env:    append(python.environ(), markVariable+"="+p.dir, "HOME="+p.dir),
		dir:    p.dir,
		stdin:  childIn,
		stdout: childOut,
	})
	if err != nil {
		closeQuietly(stdin)
		closeQuietly(stdout)
	}
	return err
}

// read hands the peer's lines to those who wait for them, until there are no
// more.
func (p *pythonPeer) read(ready chan<- struct{}) {
	defer close(p.reading)
	lines := bufio.NewScanner(p.stdout)
	lines.Buffer(nil, pythonLineLimit)
	for lines.Scan() {
		var a pythonAnswer
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			p.process.output.printf("peertest: not JSON (%v): %.200s\n", err, lines.Bytes())
			continue
		}
		switch {
		case a.Ready:
			close(ready)
		case a.ID != nil:
			p.mu.Lock()
			if waiter, ok := p.waiting[*a.ID]; ok {
				delete(p.waiting, *a.ID)
				waiter <- a // has room for the only answer
			}
			p.mu.Unlock()
		}
	}
	if err := lines.Err(); err != nil && !errors.Is(err, fs.ErrClosed) {
		p.process.output.printf("peertest: read the peer's lines: %v\n", err)
	}
}

// do sends one command and waits for its answer. The returned error is a
// *PythonError when the peer met an exception.
func (p *pythonPeer) do(ctx context.Context, command map[string]any) (pythonAnswer, error) {
	waiter := make(chan pythonAnswer, 1)
	p.mu.Lock()
	p.last++
	id := p.last
	p.waiting[id] = waiter
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.waiting, id)
		p.mu.Unlock()
	}()

	command["id"] = id
	line, err := json.Marshal(command)
	if err != nil {
		return pythonAnswer{}, fmt.Errorf("write command for %s: %w", p.process.name, err)
	}
	if err := p.send(ctx, append(line, '\n')); err != nil {
		return pythonAnswer{}, fmt.Errorf("send command to %s: %w; its output:\n%s", p.process.name, err, p.process.output)
	}
	select {
	case a := <-waiter:
		if a.OK {
			return a, nil
		}
		return a, &PythonError{
			Class: a.Class, Module: a.Module, Message: a.Message,
			ExcType: a.ExcType, Value: a.Value, Traceback: a.Traceback,
			Args: a.Args, Kwargs: a.Kwargs, Elapsed: a.elapsed(),
		}
	case <-p.reading:
		return pythonAnswer{}, fmt.Errorf("%s ended before it answered %v; its output:\n%s", p.process.name, command["op"], p.process.output)
	case <-ctx.Done():
		return pythonAnswer{}, fmt.Errorf("wait for the answer of %s to %v: %w", p.process.name, command["op"], context.Cause(ctx))
	}
}

// send writes one line. A peer that does not read, such as a paused one, lets it
// wait until ctx ends; the peer is of no more use then.
func (p *pythonPeer) send(ctx context.Context, line []byte) error {
	p.write.Lock()
	defer p.write.Unlock()
	interrupt := context.AfterFunc(ctx, func() { _ = p.stdin.SetWriteDeadline(time.Now()) })
	defer interrupt()
	_, err := p.stdin.Write(line)
	return err
}

// close ends the process and removes its directory.
func (p *pythonPeer) close() error {
	// The end of its input is the peer's sign to leave. What it does not answer
	// to within a second, such as when it is paused, is ended by force.
	closeQuietly(p.stdin)
	select {
	case <-p.process.exited:
	case <-time.After(time.Second):
	}
	p.process.kill()
	// A reader that still waits is woken by the close.
	closeQuietly(p.stdout)
	<-p.reading
	return os.RemoveAll(p.dir)
}

// writeScripts writes the peers' scripts to a new directory.
func writeScripts() (string, error) {
	dir, err := os.MkdirTemp("", "parley-python-")
	if err != nil {
		return "", fmt.Errorf("make the directory of a Python peer: %w", err)
	}
	err = fs.WalkDir(scripts, "python", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := scripts.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, filepath.Base(path)), text, 0o600)
	})
	if err != nil {
		return "", errors.Join(fmt.Errorf("write the scripts of a Python peer: %w", err), os.RemoveAll(dir))
	}
	return dir, nil
}

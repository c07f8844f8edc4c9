// SPDX-License-Identifier: Apache-2.0

package zmtp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/plugins/internal/testkit"
)

// libzmq is a Python process with a pyzmq socket (testdata/peer.py).
type libzmq struct {
	t        *testing.T
	cmd      *exec.Cmd
	in       io.WriteCloser
	out      *bufio.Reader
	endpoint string
}

func startLibzmq(t *testing.T, how, kind, endpoint string, heartbeat time.Duration) *libzmq {
	t.Helper()
	python, err := peertest.FindPython(peertest.OsloNewest)
	if err != nil {
		t.Fatal(err)
	}
	p := &libzmq{t: t, cmd: exec.Command(python.Path, "testdata/peer.py", how, kind, endpoint, strconv.FormatInt(heartbeat.Milliseconds(), 10))}
	var stderr testkit.Logs
	p.cmd.Stderr = &stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killer := time.AfterFunc(3*patience, func() { _ = p.cmd.Process.Kill() }) // so that no read waits for ever
	t.Cleanup(func() {
		killer.Stop()
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		if s := stderr.String(); s != "" {
			t.Log(s)
		}
	})
	p.out = bufio.NewReader(out)
	p.endpoint = p.line()
	return p
}

func (p *libzmq) line() string {
	p.t.Helper()
	text, err := p.out.ReadString('\n')
	if err != nil {
		p.t.Fatalf("the libzmq peer said %q and ended: %v", text, err)
	}
	return strings.TrimSpace(text)
}

func (p *libzmq) say(format string, args ...any) {
	p.t.Helper()
	if _, err := fmt.Fprintf(p.in, format+"\n", args...); err != nil {
		p.t.Fatal(err)
	}
}

// do says it and wants that no connection was lost meanwhile.
func (p *libzmq) do(format string, args ...any) {
	p.t.Helper()
	p.say(format, args...)
	verb, _, _ := strings.Cut(format, " ")
	if got := p.line(); got != verb+" 0" {
		p.t.Fatalf("%q after %q", got, verb)
	}
}

// libzmq connects to us: DEALER and REQ to our ROUTER, over TCP and a socket file. Its own
// heartbeats, three a second's tenth, find us alive while both are idle.
func TestLibzmqConnects(t *testing.T) {
	for _, scheme := range []string{"tcp://127.0.0.1:0", "ipc://" + t.TempDir() + "/s"} {
		for _, pings := range []time.Duration{-1, 100 * time.Millisecond} {
			t.Run(fmt.Sprintf("%.3s pings %v", scheme, pings), func(t *testing.T) {
				l := listen(t, scheme, Options{PingInterval: pings})
				p := startLibzmq(t, "connect", "DEALER", l.Endpoint(), 100*time.Millisecond)
				c := accept(t, l)
				if peer := c.Peer(); peer.SocketType != "DEALER" || peer.Identity != "py" {
					t.Errorf("%+v", peer)
				}
				var work sync.WaitGroup
				work.Go(func() { echo(c) })
				defer work.Wait()
				defer func() { _ = c.Close() }()
				p.do("send 200 100")
				p.do("send 3 3000000")
				p.do("idle 1.2")
				p.do("send 1 256")
				if c.Err() != nil {
					t.Error(c.Err())
				}
			})
		}
	}
	t.Run("req", func(t *testing.T) {
		l := listen(t, "tcp://127.0.0.1:0", Options{})
		serve(t, l)
		startLibzmq(t, "connect", "REQ", l.Endpoint(), 0).do("send 20 1000")
	})
}

// We connect to libzmq: our DEALER to its ROUTER, REP and DEALER.
func TestLibzmqListens(t *testing.T) {
	for _, kind := range []string{"ROUTER", "REP", "DEALER"} {
		t.Run(kind, func(t *testing.T) {
			p := startLibzmq(t, "bind", kind, "tcp://127.0.0.1:*", 100*time.Millisecond)
			c := dial(t, p.endpoint, Options{Identity: "go", PingInterval: -1})
			if peer := c.Peer(); peer.SocketType != kind {
				t.Errorf("%+v", peer)
			}
			p.say("echo 103")
			for i := range 100 {
				roundTrip(t, c, frames("", "2.0", strconv.Itoa(i), strings.Repeat("x", 3*i)))
			}
			for range 2 {
				roundTrip(t, c, [][]byte{{}, make([]byte, 5*mib), make([]byte, 300)})
			}
			if err := c.Send(frames("", "last")); err != nil {
				t.Fatal(err)
			}
			if got := p.line(); got != "echo 0" {
				t.Fatal(got)
			}
			ended := background(t, c)
			p.do("idle 1.2")
			select {
			case err := <-ended:
				t.Error(err)
			default:
			}
		})
	}
}

// libzmq answers our PINGs without having heartbeats of its own; when it stops doing so it is given
// up.
func TestFrozenLibzmqIsGivenUp(t *testing.T) {
	const interval = 100 * time.Millisecond
	p := startLibzmq(t, "bind", "ROUTER", "tcp://127.0.0.1:*", 0)
	c := dial(t, p.endpoint, Options{PingInterval: interval})
	ended := background(t, c)
	select {
	case err := <-ended:
		t.Fatal(err)
	case <-time.After(10 * interval):
	}
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := ending(t, ended); !errors.Is(err, ErrSilent) {
		t.Error(err)
	}
	t.Logf("a frozen peer was given up after %v, with PINGs each %v", time.Since(start), interval)
}

// SPDX-License-Identifier: Apache-2.0

package zmtp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/testkit"
)

func TestEndpoints(t *testing.T) {
	for text, want := range map[string]endpoint{
		"tcp://127.0.0.1:0":                  {host: "127.0.0.1"},
		"tcp://[::]:9501":                    {host: "::", low: 9501, high: 9501},
		"tcp://*:9501":                       {host: "*", low: 9501, high: 9501},
		"tcp://host:49152-5000":              {},
		"tcp://host:7-9":                     {host: "host", low: 7, high: 9},
		"tcp://host:0-9":                     {},
		"tcp://host:65536":                   {},
		"tcp://host:":                        {},
		"tcp://host":                         {},
		"tcp://:1":                           {},
		"tcp://host:-1":                      {},
		"udp://host:1":                       {},
		"ipc:///run/a.sock":                  {path: "/run/a.sock"},
		"ipc://a.sock":                       {},
		"ipc:///" + strings.Repeat("a", 103): {},
		"":                                   {},
	} {
		want.text = text
		got, err := parseEndpoint(text)
		if bad := want.host == "" && want.path == ""; bad != (err != nil) {
			t.Errorf("%s: %v", text, err)
		} else if !bad && got != want {
			t.Errorf("%s: %+v", text, got)
		}
		if err != nil && driver.ReasonOf(err) != driver.ReasonConfig {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestListenTakesTheFirstFreePort(t *testing.T) {
	first := listen(t, "tcp://127.0.0.1:0", Options{})
	port := first.ln.Addr().(*net.TCPAddr).Port
	if want := fmt.Sprintf("tcp://127.0.0.1:%d", port); first.Endpoint() != want {
		t.Error(first.Endpoint())
	}
	second := listen(t, fmt.Sprintf("tcp://127.0.0.1:%d-%d", port, port+20), Options{})
	if second.Endpoint() == first.Endpoint() || !strings.HasPrefix(second.Endpoint(), "tcp://127.0.0.1:") {
		t.Error(second.Endpoint())
	}
	_, err := Listen(t.Context(), first.Endpoint(), Options{})
	if e, ok := errors.AsType[*driver.Error](err); !ok || !strings.Contains(e.Hint, "another port") {
		t.Error(err)
	}
	_, err = Listen(t.Context(), "tcp://192.0.2.1:0", Options{})
	if e, ok := errors.AsType[*driver.Error](err); !ok || !strings.Contains(e.Hint, "address of this machine") {
		t.Error(err)
	}
	all := listen(t, "tcp://*:0", Options{})
	serve(t, all)
	_, port4, _ := net.SplitHostPort(strings.TrimPrefix(all.Endpoint(), "tcp://"))
	roundTrip(t, dial(t, "tcp://127.0.0.1:"+port4, Options{}), frames("4"))
	if c, err := net.Dial("tcp", "[::1]:"+port4); err == nil {
		_ = c.Close()
		roundTrip(t, dial(t, "tcp://[::1]:"+port4, Options{}), frames("6"))
	} else {
		t.Logf("NOT PROVEN: IPv6, which this machine does not have: %v", err)
	}
}

func TestSocketFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.sock")
	l := listen(t, "ipc://"+path, Options{})
	serve(t, l)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	c := dial(t, l.Endpoint(), Options{Identity: "me"})
	roundTrip(t, c, frames("over", "a", "file"))
	if c.Peer().Address != "ipc://"+path {
		t.Error(c.Peer().Address)
	}
	_, err := Listen(t.Context(), "ipc://"+path, Options{})
	if e, ok := errors.AsType[*driver.Error](err); !ok || !strings.Contains(e.Hint, "another path") {
		t.Errorf("a living one: %v", err)
	}
	roundTrip(t, c, frames("still"))
	roundTrip(t, dial(t, l.Endpoint(), Options{}), frames("again"))
	_ = l.Close()
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 0 {
		t.Errorf("it left %v %v", entries, err)
	}
}

func TestDeadSocketFileIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.sock")
	for _, name := range []string{path, path + socketSuffix} {
		dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		dead.SetUnlinkOnClose(false)
		_ = dead.Close()
	}
	l := listen(t, "ipc://"+path, Options{})
	serve(t, l)
	roundTrip(t, dial(t, l.Endpoint(), Options{}), frames("x"))

	// One that took the path over is not removed by the first one's end.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	heir := listen(t, "ipc://"+path, Options{})
	serve(t, heir)
	_ = l.Close()
	roundTrip(t, dial(t, heir.Endpoint(), Options{}), frames("x"))

	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(t.Context(), "ipc://"+file, Options{}); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("a file: %v", err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
}

func TestListenerCloses(t *testing.T) {
	l := listen(t, "tcp://127.0.0.1:0", Options{Handshake: time.Minute})
	kept := dial(t, l.Endpoint(), Options{})
	router := accept(t, l)
	waiting := dial(t, l.Endpoint(), Options{}) // nobody accepts it
	silent := raw(t, l)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if c, err := l.Accept(ctx); err == nil {
		waiting = dial(t, l.Endpoint(), Options{}) // the one that was ready was as good
		_ = c.Close()
	} else if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	start := time.Now()
	for range 2 {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	if _, err := l.Accept(soon(t)); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if _, err := waiting.Recv(); err == nil {
		t.Error("a Conn that nobody accepted is open")
	}
	if _, err := silent.Read(make([]byte, 100)); err == nil {
		_, err = silent.Read(make([]byte, 100))
		if err == nil {
			t.Error("an unfinished handshake is open")
		}
	}
	if err := kept.Send(frames("x")); err != nil {
		t.Error(err)
	}
	if _, err := router.Recv(); err != nil {
		t.Error(err)
	}
}

func TestMaxConns(t *testing.T) {
	var log testkit.Logs
	l := listen(t, "tcp://127.0.0.1:0", Options{MaxConns: 2, Logger: log.Logger()})
	serve(t, l)
	first := dial(t, l.Endpoint(), Options{})
	second := dial(t, l.Endpoint(), Options{})
	roundTrip(t, first, frames("x"))
	roundTrip(t, second, frames("x"))
	if c, err := Dial(soon(t), l.Endpoint(), Options{}); err == nil {
		// Its handshake had begun before the limit was met.
		if _, err := c.Recv(); err == nil {
			t.Error("there is a third")
		}
		_ = c.Close()
	} else if driver.ReasonOf(err) != driver.ReasonNotConnected {
		t.Error(err)
	}
	eventually(t, "a warning", func() bool { return strings.Contains(log.String(), "too many") })
	_ = first.Close()
	eventually(t, "a place is free", func() bool { return l.conns.Load() == 1 })
	roundTrip(t, dial(t, l.Endpoint(), Options{}), frames("x"))
	roundTrip(t, second, frames("x"))
}

// The oldest of too many handshakes makes room.
func TestMaxHandshakes(t *testing.T) {
	l := listen(t, "tcp://127.0.0.1:0", Options{MaxHandshakes: 3, Handshake: time.Minute})
	open := func() int {
		l.shaking.mu.Lock()
		defer l.shaking.mu.Unlock()
		return l.shaking.open.Len()
	}
	oldest := raw(t, l)
	eventually(t, "one handshake", func() bool { return open() == 1 })
	later := []net.Conn{raw(t, l), raw(t, l)}
	eventually(t, "three handshakes", func() bool { return open() == 3 })
	serve(t, l)
	roundTrip(t, dial(t, l.Endpoint(), Options{}), frames("x"))
	for {
		if _, err := oldest.Read(make([]byte, 100)); err != nil {
			if isTimeout(err) {
				t.Error("the oldest is open")
			}
			break
		}
	}
	for i, c := range later {
		write(t, c, goodGreeting(nil), goodReady(strconv.Itoa(i)), shortFrame(0, "x"))
		buf := make([]byte, greetingSize)
		if _, err := c.Read(buf); err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
}

// Being out of file descriptors passes. This process is really put into that state.
func TestAcceptSurvivesRunningOutOfFiles(t *testing.T) {
	var log testkit.Logs
	l := listen(t, "tcp://127.0.0.1:0", Options{Logger: log.Logger()})
	serve(t, l)
	address := strings.TrimPrefix(l.Endpoint(), "tcp://")
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	low := before
	low.Cur = uint64(len(entries) + 30)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	var open []net.Conn
	for end := time.Now().Add(patience); !strings.Contains(log.String(), "cannot accept") && time.Now().Before(end); {
		c, err := net.Dial("tcp", address)
		if err != nil {
			<-time.After(5 * time.Millisecond)
			continue
		}
		open = append(open, c)
	}
	for _, c := range open {
		_ = c.Close()
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "too many open files") {
		t.Fatal("it did not run out of files: " + log.String())
	}
	roundTrip(t, dial(t, l.Endpoint(), Options{}), frames("x"))
}

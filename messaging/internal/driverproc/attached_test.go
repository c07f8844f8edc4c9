// SPDX-License-Identifier: Apache-2.0

//go:build unix

package driverproc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/parleymq/parley/messaging/internal/hosttest"
	"github.com/parleymq/parley/plugin/driver"
)

// listenAt listens as a driver that was started with --debug does.
func listenAt(t *testing.T, path string) *net.UnixListener {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	must(t, err)
	t.Cleanup(func() { _ = l.Close() }) // some tests have closed it
	return l
}

func reattachTo(t *testing.T, value string) (*Attached, net.Conn, error) {
	t.Helper()
	return Reattach(context.Background(), "my-driver", hosttest.Env(map[string]string{"PARLEY_REATTACH_MY_DRIVER": value}))
}

func reattachJSON(path string) string {
	return fmt.Sprintf(`{"network":"unix","address":%q,"pid":4711,"protocol":1}`, path)
}

func TestReattachIsOnlyForWhoAsks(t *testing.T) {
	if a, conn, err := reattachTo(t, ""); a != nil || conn != nil || err != nil {
		t.Errorf("got %v, %v, %v", a, conn, err)
	}
}

// What cannot be used or trusted is refused with what to do.
func TestReattachRefuses(t *testing.T) {
	dir := hosttest.ShortDir(t)
	socket := filepath.Join(dir, "s")
	listenAt(t, socket)
	must(t, os.Symlink(socket, filepath.Join(dir, "link")))
	must(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	open := filepath.Join(dir, "open")
	must(t, os.Mkdir(open, 0o700))
	must(t, os.Chmod(open, 0o777))
	listenAt(t, filepath.Join(open, "s"))
	dead := filepath.Join(dir, "dead")
	l := listenAt(t, dead)
	l.SetUnlinkOnClose(false)
	must(t, l.Close())

	for name, tc := range map[string]struct {
		value  string
		reason driver.Reason
		says   string
	}{
		"no JSON":         {"/tmp/socket", driver.ReasonConfig, "is not the JSON that a driver prints"},
		"network":         {`{"network":"tcp","address":"127.0.0.1:1","protocol":1}`, driver.ReasonConfig, `names the network "tcp"`},
		"relative":        {reattachJSON("s"), driver.ReasonConfig, "no absolute path"},
		"no protocol":     {`{"network":"unix","address":"/s"}`, driver.ReasonConfig, "names protocol 0"},
		"not there":       {reattachJSON(filepath.Join(dir, "none")), driver.ReasonDriverGone, "no such file"},
		"link":            {reattachJSON(filepath.Join(dir, "link")), driver.ReasonConfig, "is a symbolic link"},
		"file":            {reattachJSON(filepath.Join(dir, "file")), driver.ReasonConfig, "is no socket"},
		"open directory":  {reattachJSON(filepath.Join(open, "s")), driver.ReasonConfig, "may be written by them (mode 0777)"},
		"nobody listens":  {reattachJSON(dead), driver.ReasonDriverGone, "connection refused"},
		"control letters": {`{"network":"un\u001b[31mix","address":"/s","protocol":1}`, driver.ReasonConfig, `"un\x1b[31mix"`},
	} {
		t.Run(name, func(t *testing.T) {
			a, conn, err := reattachTo(t, tc.value)
			if a != nil || conn != nil || err == nil {
				t.Fatalf("it was taken: %v", err)
			}
			hosttest.MustSay(t, driver.AsError(err), tc.reason, tc.says, "PARLEY_REATTACH_MY_DRIVER", "parley-driver-my-driver --debug")
		})
	}
}

func TestReattachRefusesAnotherUsers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT PROVEN: that another user's socket is refused; only root can give a file away")
	}
	for name, give := range map[string]func(dir, socket string) error{
		"socket":    func(_, socket string) error { return os.Chown(socket, 65534, 65534) },
		"directory": func(dir, _ string) error { return os.Chown(dir, 65534, 65534) },
	} {
		dir := hosttest.ShortDir(t)
		socket := filepath.Join(dir, "s")
		listenAt(t, socket)
		must(t, give(dir, socket))
		_, _, err := reattachTo(t, reattachJSON(socket))
		if err == nil {
			t.Fatalf("another user's %s was taken", name)
		}
		hosttest.MustSay(t, driver.AsError(err), driver.ReasonConfig, "belongs to neither root nor user id 0")
	}
}

// An attached process is only ever disconnected from.
func TestAttachedLife(t *testing.T) {
	socket := filepath.Join(hosttest.ShortDir(t), "s")
	l := listenAt(t, socket)
	a, conn, err := reattachTo(t, reattachJSON(socket))
	must(t, err)
	theirs, err := l.Accept()
	must(t, err)
	if a.Pid() != 4711 || a.Name() != socket || !a.Traced() {
		t.Errorf("pid %d, name %s", a.Pid(), a.Name())
	}
	if err := a.Signal(syscall.SIGTERM); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("signal: %v", err)
	}
	dial := a.Dialer(conn)
	mine, err := dial(context.Background(), "")
	must(t, err)
	if _, err := dial(context.Background(), ""); driver.ReasonOf(err) != driver.ReasonDriverGone {
		t.Errorf("a second connection: %v", err)
	}
	a.Own(mine)
	select {
	case <-a.Exited():
		t.Fatal("it has ended already")
	default:
	}
	must(t, theirs.Close()) // the driver ends
	if _, err := mine.Read(make([]byte, 1)); err == nil {
		t.Error("read from a closed connection")
	}
	<-a.Exited() // or the test times out
	hosttest.MustSay(t, a.GoneError(os.ErrClosed), driver.ReasonDriverGone, "my-driver", "pid 4711", "started by hand", "PARLEY_REATTACH_MY_DRIVER")
	must(t, a.Kill(context.Background()))
	must(t, a.Kill(context.Background()))
}

func TestAttachedKillDisconnects(t *testing.T) {
	socket := filepath.Join(hosttest.ShortDir(t), "s")
	l := listenAt(t, socket)
	a, conn, err := reattachTo(t, reattachJSON(socket))
	must(t, err)
	theirs, err := l.Accept()
	must(t, err)
	a.Own(conn)
	must(t, a.Kill(context.Background()))
	<-a.Exited()
	if _, err := theirs.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is open")
	}
	must(t, theirs.Close())
}

// SPDX-License-Identifier: Apache-2.0

package zmtp

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// socketSuffix makes the name under which a socket gets its mode before anybody can find it.
const socketSuffix = ".new"

// listenIPC listens on a socket file.
func (l *Listener) listenIPC(ctx context.Context, e endpoint) error {
	ln, mine, err := bindSocket(ctx, e.path)
	if err != nil {
		failure := driver.Errorf(driver.ReasonNotConnected, "cannot listen on %s: %w", e.text, err)
		switch {
		case inUse(err), errors.Is(err, fs.ErrExist):
			return failure.WithHint("another process listens there: take another path")
		case errors.Is(err, errNoSocket):
			return failure.WithHint("remove the file, or take another path")
		default:
			return failure.WithHint("the directory must exist and let the user of the driver's process write")
		}
	}
	l.ln, l.endpoint = ln, "ipc://"+e.path
	l.unlink = func() {
		// By then the path may be somebody else's.
		if now, err := os.Lstat(e.path); err == nil && os.SameFile(now, mine) {
			_ = os.Remove(e.path) // a dead socket is replaced by the next one
		}
	}
	return nil
}

var errNoSocket = errors.New("there is a file that is no socket")

// bindSocket makes the socket under another name first, sets its mode, and links it to path, which
// fails when two processes do it at once.
func bindSocket(ctx context.Context, path string) (net.Listener, fs.FileInfo, error) {
	if err := removeDead(ctx, path); err != nil {
		return nil, nil, err
	}
	temporary := path + socketSuffix
	if err := removeDead(ctx, temporary); err != nil {
		return nil, nil, err
	}
	var config net.ListenConfig
	ln, err := config.Listen(ctx, "unix", temporary)
	if err != nil {
		return nil, nil, err
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	mine, err := publish(temporary, path)
	if err != nil {
		_ = ln.Close() // it is given up
		return nil, nil, err
	}
	return ln, mine, nil
}

func publish(temporary, path string) (fs.FileInfo, error) {
	defer func() { _ = os.Remove(temporary) }() // it has served
	if err := os.Chmod(temporary, 0o600); err != nil {
		return nil, err
	}
	mine, err := os.Lstat(temporary)
	if err != nil {
		return nil, err
	}
	return mine, os.Link(temporary, path)
}

// removeDead removes a socket on which nobody listens any more.
func removeDead(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s: %w", path, errNoSocket)
	}
	d := net.Dialer{Timeout: time.Second}
	conn, err := d.DialContext(ctx, "unix", path)
	if err == nil {
		_ = conn.Close() // it was only a question
		return fmt.Errorf("%s: %w", path, syscall.EADDRINUSE)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("ask who listens on %s: %w", path, err)
	}
	return os.Remove(path)
}

func inUse(err error) bool { return errors.Is(err, syscall.EADDRINUSE) }

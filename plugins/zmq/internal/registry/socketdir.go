// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

const (
	socketSuffix = ".sock"
	// maxSocketPath is what fits into an address of the kernel, less the name of a socket.
	maxSocketPath = 107 - 40
	// abandonedAfter is how old the socket of nobody must be to be removed: the one of a node that
	// is starting is there before anybody listens.
	abandonedAfter = 10 * time.Second
	// maxAbandoned bounds the work of one start.
	maxAbandoned = 256
)

// SocketDir returns the directory for Unix sockets of the nodes that meet in o's directory: this
// user's own, beside the default directory of records, so that sockets outlive a directory that is
// deleted. It fails when other users may use the directory of records, or the path is too long.
func SocketDir(o Options) (string, error) {
	records, err := chooseDir(o)
	if err != nil {
		return "", err
	}
	if !records.private {
		if err := records.prepare(); err != nil {
			return "", err
		}
		if _, err := checkPrivate(records.path); err != nil {
			return "", err
		}
	}
	base, dir := defaultDir(os.Getenv)
	d := recordDir{private: true, base: base, path: filepath.Join(filepath.Dir(dir), "sock")}
	if len(d.path) > maxSocketPath {
		return "", driver.Errorf(driver.ReasonConfig, "the path of the directory for sockets is too long: %s", d.path).
			WithHint("set TMPDIR or XDG_RUNTIME_DIR to a shorter one, or use TCP")
	}
	if err := d.prepare(); err != nil {
		return "", err
	}
	removeAbandoned(d.path)
	return d.path, nil
}

// removeAbandoned removes the sockets of nodes that were killed.
func removeAbandoned(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	tried := 0
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), socketSuffix) || tried == maxAbandoned {
			continue
		}
		path := filepath.Join(dir, e.Name())
		if st, err := os.Lstat(path); err != nil || time.Since(st.ModTime()) < abandonedAfter {
			continue
		}
		tried++
		if isAbandoned(path) {
			_ = os.Remove(path) // another node did it, or will
		}
	}
}

func isAbandoned(path string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	if err == nil {
		_ = c.Close() // it was only asked whether somebody is there
		return false
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

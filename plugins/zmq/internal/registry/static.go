// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

const (
	// maxPeersFile bounds the file of peers.
	maxPeersFile = 1 << 20
	// staticReady is how long Open waits for the file, which may be on a server that is away.
	staticReady = time.Second
)

// staticStore knows the addresses in a file and nothing else: nodes tell each other what they
// listen to when they meet. Nothing is announced.
type staticStore struct {
	board *board
	path  string
	watch *watch

	stat   fileStat // of what was read last
	read   time.Time
	failed error // what was wrong with it
}

// newStatic returns the discovery by a file of peers.
func newStatic(o Options) (Registry, error) {
	path, err := peersPath(o)
	if err != nil {
		return nil, err
	}
	log := o.Logger.With("file", path)
	// A file that is put in place by a symbolic link may have a hidden name.
	s := &staticStore{board: newBoard(), path: path, watch: newWatch(true, log)}
	s.watch.add(filepath.Dir(path))
	k := startKeeper(s.board, s, o, log)
	k.waitReady(staticReady)
	return k, nil
}

// peersPath finds the file that o asks for: zmq+static:///etc/peers.json has it as the path,
// zmq+static://peers.json as the host.
func peersPath(o Options) (string, error) {
	path := o.Path
	if len(o.Hosts) > 0 {
		if len(o.Hosts) > 1 || o.Hosts[0].Port != 0 {
			return "", driver.Errorf(driver.ReasonConfig, "zmq+static takes a file of peers and no hosts").
				WithHint("write zmq+static:///path/to/peers.json, or zmq+seeds:// with the hosts")
		}
		path = filepath.Join(o.Hosts[0].Name, o.Path)
	}
	if path == "" || path == "/" {
		return "", driver.Errorf(driver.ReasonConfig, "zmq+static needs a file of peers").
			WithHint("write zmq+static:///path/to/peers.json")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", driver.Errorf(driver.ReasonConfig, "the file of peers %q cannot be found: %w", o.Path, err)
	}
	if st, err := os.Stat(path); err == nil && !st.Mode().IsRegular() {
		return "", driver.Errorf(driver.ReasonConfig, "the file of peers %s is no file", path).
			WithHint(`it holds {"peers": ["tcp://host:9501"]}`)
	}
	return path, nil
}

func (s *staticStore) announce(context.Context, *Record) error { return nil }
func (s *staticStore) withdraw(context.Context) error          { return nil }
func (s *staticStore) hints() <-chan struct{}                  { return s.watch.hints() }
func (s *staticStore) close()                                  { s.watch.close() }

// tick implements store: it reads the file again when it looks different, and for a while after
// it did, since times of files have steps.
func (s *staticStore) tick(ctx context.Context) error {
	info, err := os.Stat(s.path)
	if err == nil && statOf(info) == s.stat && time.Since(s.read) > coarseTick {
		return s.failed
	}
	return s.look(ctx)
}

// look implements store.
func (s *staticStore) look(context.Context) error {
	addresses, st, err := readPeers(s.path)
	if st != s.stat {
		s.stat, s.read = st, time.Now()
	}
	s.failed = err
	if err != nil {
		return err
	}
	s.board.show(nil, addresses)
	return nil
}

// readPeers reads the file of peers, which may be written just now.
func readPeers(path string) ([]string, fileStat, error) {
	text, st, err := readPeersText(path)
	if err == nil {
		var addresses []string
		if addresses, err = parsePeers(text); err == nil {
			return addresses, st, nil
		}
	}
	return nil, st, driver.Errorf(driver.ReasonNotConnected, "the file of peers %s cannot be used: %w", path, err).
		WithHint(`it is read again when it changes; it holds {"peers": ["tcp://host:9501"]}`)
}

func readPeersText(path string) ([]byte, fileStat, error) {
	f, err := openRegular(path, 0)
	if err != nil {
		return nil, fileStat{}, err
	}
	defer func() { _ = f.Close() }() // it was only read
	info, err := f.Stat()
	if err != nil {
		return nil, fileStat{}, err
	}
	st := statOf(info)
	if !info.Mode().IsRegular() {
		return nil, st, errors.New("it is no regular file")
	}
	text, err := io.ReadAll(io.LimitReader(f, maxPeersFile+1))
	if err == nil && len(text) > maxPeersFile {
		err = fmt.Errorf("it is larger than %d bytes", maxPeersFile)
	}
	return text, st, err
}

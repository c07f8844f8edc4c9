// SPDX-License-Identifier: Apache-2.0

package zmqfaults

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// cutLinks breaks all TCP connections of a process, and returns how many there were.
func cutLinks(pid int) (int, error) {
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return 0, err
	}
	defer func() { _ = unix.Close(process) }()
	dir := filepath.Join("/proc", strconv.Itoa(pid), "fd")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	cut := 0
	for _, e := range entries {
		name, _ := os.Readlink(filepath.Join(dir, e.Name())) // one that was just closed is none
		number, _ := strconv.Atoi(e.Name())
		if !strings.HasPrefix(name, "socket:") {
			continue
		}
		done, shutErr := cutSocket(process, number)
		err = errors.Join(err, shutErr)
		if done {
			cut++
		}
	}
	return cut, err
}

// cutSocket shuts a socket of another process down, if it is a TCP connection.
func cutSocket(process, number int) (bool, error) {
	fd, err := unix.PidfdGetfd(process, number, 0)
	if err != nil {
		if err == unix.EBADF {
			return false, nil // it was just closed
		}
		return false, err
	}
	defer func() { _ = unix.Close(fd) }()
	peer, err := unix.Getpeername(fd)
	if err != nil {
		return false, nil // it listens
	}
	if _, ok := peer.(*unix.SockaddrInet4); !ok {
		return false, nil
	}
	return unix.Shutdown(fd, unix.SHUT_RDWR) == nil, nil
}

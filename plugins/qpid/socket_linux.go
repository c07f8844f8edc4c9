// SPDX-License-Identifier: Apache-2.0

package main

import (
	"syscall"
	"time"
)

const tcpUserTimeout = 18 // TCP_USER_TIMEOUT of linux/tcp.h; package syscall does not have it

// userTimeout makes the kernel give up a peer that does not acknowledge what was written:
// a host that vanished is then noticed while we write, not only while we wait.
func userTimeout(d time.Duration) func(network, address string, c syscall.RawConn) error {
	if d <= 0 {
		return nil
	}
	return func(_, _ string, c syscall.RawConn) error {
		// Without the option keepalives still find the loss, later.
		return c.Control(func(fd uintptr) {
			_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(d.Milliseconds()))
		})
	}
}

// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package main

import (
	"syscall"
	"time"
)

// userTimeout has no meaning here: keepalives alone find a peer that vanished.
func userTimeout(time.Duration) func(network, address string, c syscall.RawConn) error { return nil }

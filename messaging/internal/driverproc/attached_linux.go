// SPDX-License-Identifier: Apache-2.0

package driverproc

import "golang.org/x/sys/unix"

// peerUserID is the user of the process at the other end of a socket.
func peerUserID(fd int) int {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return noUser
	}
	return int(cred.Uid)
}

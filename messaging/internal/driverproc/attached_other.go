// SPDX-License-Identifier: Apache-2.0

//go:build darwin || freebsd || netbsd || openbsd || dragonfly

package driverproc

// peerUserID is not known: the owner of the socket and its directory must do.
func peerUserID(int) int { return noUser }

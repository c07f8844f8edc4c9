// SPDX-License-Identifier: Apache-2.0

// Package driverproc runs one process of a driver under unmodified hashicorp/go-plugin: it is
// the library's Runner. The file that was checked is the one that is started, the environment is
// explicit, noise before the handshake is no error, no wait is without a bound, and nothing of
// the process is left when it ends or when its host does.
package driverproc

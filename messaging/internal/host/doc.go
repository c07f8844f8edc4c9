// SPDX-License-Identifier: Apache-2.0

// Package host keeps driver processes running: one for each driver binary and isolation class,
// started with its first user, restarted when it ends, swapped for a new version, and ended with
// its last user. It makes connections and listeners outlive their processes.
//
// From below to above: package driverfile finds a file and judges it, package driverproc starts
// it, process.go is one life of one process, supervisor.go the succession of them, and [Conn]
// and [Listener] implement the driver contract on top, with a new epoch for each life.
package host

// SPDX-License-Identifier: Apache-2.0

// Package host runs driver processes: it finds them, checks that they may be trusted, starts
// one process a driver binary and isolation class, restarts it when it ends, and makes
// connections and listeners outlive their processes.
//
// From below to above: search.go and trust.go find a file, the runner and its readers start
// it under unmodified hashicorp/go-plugin, process.go is one life of one process,
// supervisor.go the succession of them, and [Conn] and [Listener] implement the driver
// contract on top, with a new epoch for each life.
package host

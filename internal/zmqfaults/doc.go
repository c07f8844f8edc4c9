// SPDX-License-Identifier: Apache-2.0

// Package zmqfaults has tests only: applications that meet without a broker, each a process of its
// own with a driver process of its own, call each other while applications, drivers and the
// discovery are killed, stopped, swapped and cut off.
//
// Each application writes a ledger. A server writes the id of a request before it does anything
// for it, a client writes each request before it is sent and what became of it. Both survive
// SIGKILL. When a run is over the ledgers are judged together: no accepted cast is lost while the
// application that took it lives, no request is run twice, no caller waits for longer than its
// time, every error has a code that says the truth, and nothing is left.
//
// PARLEY_ZMQFAULTS_TIME makes each run go on for that long, and until each fault was made ten
// times.
package zmqfaults

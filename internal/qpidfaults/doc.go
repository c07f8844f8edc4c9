// SPDX-License-Identifier: Apache-2.0

// Package qpidfaults has tests only: applications that meet at an Apache Qpid Broker-J, each a
// process of its own with a qpid driver of its own, call each other while the broker is killed,
// stopped and paused, connections are cut, and drivers are killed and swapped.
//
// Each application writes a ledger. A server writes the id of a request before it does anything for
// it, a client writes each request before it is sent and what became of it. One client has the
// driver's defaults, with which a cast is sent without waiting for the broker to take it; the other
// has reliable_casts. When a run is over the ledgers are judged together:
//
//   - Every request ends by its time, with an answer or an error that has a code, and the code says
//     the truth.
//   - Nothing is run twice: what comes again to a server that has run it is known there. What a server
//     accepted as its connection was lost the broker may give to the other one, of which nobody can
//     know, nor upstream: that is counted apart.
//   - A reliable cast that was accepted is run while the broker lives; one of the defaults may also be
//     lost with its sender's connection. A cast that a server's driver had accepted is lost with that
//     driver (POLL-5: it is accepted before it is run), and is counted apart.
//   - A call in flight whose reply address is lost is in doubt long before its time is over.
//   - Calls go through again within five seconds, between every client and every server.
//   - While nothing is broken nothing fails, and fanouts reach all servers. Swaps of drivers break
//     nothing. Fanouts during a break may be missed.
//
// PARLEY_QPIDFAULTS_TIME makes the run go on for that long, and until each fault was made ten times.
package qpidfaults

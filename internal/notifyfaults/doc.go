// SPDX-License-Identifier: Apache-2.0

// Package notifyfaults has tests only: applications, each a process of its own with a driver
// process of its own, that notify and listen through a RabbitMQ, while their drivers and they
// themselves are killed, connections are cut and the broker is restarted.
//
// Each application writes a ledger. A notifier writes the number of a notification before it is
// sent and what became of it, a listener writes it before it does anything else. Both survive
// SIGKILL. When a run is over the ledgers are judged together: nothing that was accepted is lost
// in any pool, what a listener was given twice within its window it handles once, and the order
// is kept where it is promised.
//
// PARLEY_NOTIFYFAULTS_COUNT is how many notifications are sent; with many there are many faults,
// and the broker is away for a minute where it is away at all. PARLEY_NOTIFYFAULTS_KEEP keeps the
// files of the runs, and says where they are.
package notifyfaults

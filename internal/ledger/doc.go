// SPDX-License-Identifier: Apache-2.0

// Package ledger is what the tests have in common that let applications work while things break, and
// judge afterwards what became of each request. Only tests link it.
//
// Every application is a process of its own ([Application], started as a testbed.App) and writes a
// ledger ([File]). A server writes the id of a request before it does anything for it ([Serve]), a
// client writes each request before it is sent and what became of it ([Client]). What was written stays
// when the process is killed.
//
// A test makes its faults in another order each time ([Disturb]), puts the ledgers together when
// everybody has ended ([Collect]) and counts what broke a promise ([Judgement]). What is promised, and
// which fault excuses what, is for each package of tests to say.
package ledger

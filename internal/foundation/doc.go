// SPDX-License-Identifier: Apache-2.0

// Package foundation keeps what drivers of the first days are: the contract they were built from
// (contract), a driver that knows nothing else (driver), and one of another major version
// (majordriver). Its tests run them under today's host. Where the repository's history is at hand,
// they also build the fake driver of that day, with the SDK of that day.
package foundation

// Commit is where the foundation was finished.
const Commit = "d2d184172ba4e4310d0934c6b0442d9c90dcdba8"

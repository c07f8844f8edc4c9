// SPDX-License-Identifier: Apache-2.0

// Package contract is the protocol as it was when the first drivers were built with it: driver.proto
// of the foundation's commit, with another go_package, and the code made from it. Nothing here is
// changed any more. It has the names of today's package on the wire, so no program can link both.
package contract

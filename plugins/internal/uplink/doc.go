// SPDX-License-Identifier: Apache-2.0

// Package uplink keeps a connection to a broker for a driver: it dials the hosts in turn, watches
// the connection, dials again after a loss, tells those who wait, and reports the state of the whole
// (STATE-1). What a connection is, and how it is made, is the driver's: see Options and Session.
package uplink

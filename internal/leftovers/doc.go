// SPDX-License-Identifier: Apache-2.0

// Package leftovers holds the test that a host leaves nothing behind, however it ends: killed,
// crashed, without a word, or replaced by another program. The host is a process of its own with
// four driver processes, one of which is stopped and one of which has a child.
//
// What is proven: a few moments after the host's end there is no process, socket or directory of
// its drivers. A child that moved to a session of its own, which nothing in the dead host's reach
// can find, is ended by the next host.
package leftovers

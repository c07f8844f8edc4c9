// SPDX-License-Identifier: Apache-2.0

// Package bridge carries the driver contract over gRPC: on the host's side [Peer] and [Conn]
// look like a driver, on the driver's side [Server] calls one. The host and the SDK use it,
// and nobody else; docs/PROTOCOL.md describes what goes over the wire.
//
// Costs are what shaped it. A message is one element of a frame of a long stream, never a
// gRPC call. A frame takes whatever is queued when its writer is free: one message while idle,
// many while busy, and no timer. Results and settlements travel as runs of numbers.
package bridge

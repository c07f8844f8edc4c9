// SPDX-License-Identifier: Apache-2.0

// Package zmtp is one ZMTP 3 connection that foreign bytes cannot hurt: package zmq4's Conn over a
// net.Conn of ours that checks, bounds and buffers.
//
// zmq4 v0.17.0 encodes, decodes and negotiates, and its sockets are not used: their accept loop
// waits for silent clients, and their pools lose messages without an error. What is left of it, the
// Conn, trusts what it reads, so it reads from a guard. The guard follows the byte stream frame by
// frame and refuses before zmq4 allocates or panics. It takes commands out of the stream, because
// zmq4 would answer a PING with an empty PONG and hand both to the application.
//
// A Conn that ends, for whatever reason, gives back its goroutine, its socket and its buffers by
// itself; nobody has to call Close for that.
package zmtp

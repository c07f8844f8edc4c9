// SPDX-License-Identifier: Apache-2.0

// Command parley-driver-zmq is the transport driver for applications that speak to each other by
// ZeroMQ, with no broker between them.
//
// # What it speaks
//
// ZMTP 3.1, by package zmq4's codec: each transport has one ROUTER address and dials the others as
// DEALER. What the messages are is envelope 2, which package wire describes; peers of oslo.messaging
// up to 8.1, whose zmq driver was removed in 9.0, are recognised and answered in their version 1.0
// (oslo_messaging/_drivers/zmq_driver there).
//
// URLs say how peers find each other:
//
//	zmq://                            on this machine, by a directory of this user
//	zmq:///path/to/directory          by that directory
//	zmq+static:///path/to/peers.json  by a list of addresses in a file
//	zmq+seeds://host1:9501,host2:9501 by asking those, and whom they know
//	zmq+redis://host:6379/namespace   by Redis; zmq+sentinel:// by its sentinels
//
// # Options
//
// "parley-driver-zmq describe" lists them. Those with upstream's names mean the same; upstream's
// others are about sockets and proxies that there are not.
//
// # TLS
//
// With ssl=true all peers speak TLS 1.3, each shows a certificate, and each checks the other's by the
// authorities of ssl_ca_file; the one that is dialled must be for the host of the address. Without it
// the driver listens on this machine only, unless zmq_insecure=true.
//
// # Topology
//
// Up to zmq_mesh_limit nodes everybody has a connection to everybody, above it to those it sends to.
// A request goes to the listener with the least to do of two in turn, or to the server it names; a
// fanout goes to every node that is known to have a server of the topic; a notification goes to one
// listener of each pool. Who listens to what is told over the connections at once, and found in the
// registry by those that have none.
//
// # Guarantees
//
// Send returns when the process of a receiver has the message, and both processes keep it until the
// receiver's application has taken it. A connection that breaks is made again and everything not done
// is sent again; the receiver drops what it has. The driver of an application that is started again is
// given what its predecessor was, and the application knows by the unique id what it had. A request
// that was written to an application that is gone may have been run: it fails as in doubt, and goes to
// nobody else. With AckAfterHandler it does. Replies are kept for their reader by zmq_hold_time.
// A message that nobody listens to waits for a listener.
//
// # Errors
//
// NO_ROUTE is that nobody listens, NOT_CONNECTED that those who do cannot be reached, or in doubt
// that they have not answered, BROKER_BLOCKED that all are busy, EXPIRED that the time was over,
// MESSAGE_TOO_LARGE a message above zmq_max_message. What certificates do is TLS_FAILED, and what of
// the options does not fit together CONFIG.
//
// # Limits
//
// What waits in the queue of a server's driver is lost when the application is killed; what it had
// taken and not run is lost with any driver. Peers of 8.x acknowledge nothing, and reach a transport
// that has one topic of servers only. Peers that are not authenticated by TLS can claim any name.
package main

// SPDX-License-Identifier: Apache-2.0

// Package legacy is the wire of oslo.messaging 8.x, version 1.0, of the zmq driver that was removed
// in 9.0.0: its direct topology, without a proxy and with JSON (rpc_zmq_serialization). It knows
// frames and nothing of sockets.
//
// A client's DEALER sends a request, and the server's ROUTER answers a call with a reply
// (oslo_messaging/_drivers/zmq_driver/client/zmq_senders.py and
// server/consumers/zmq_router_consumer.py there):
//
//	frame  request                       reply
//	0      empty                         empty
//	1      1.0                           1.0
//	2      1 call, 2 cast, 3 fanout,     5
//	       4 notify
//	3      message id                    message id of the call
//	4      [context, message]            [result, failure]
//
// The identity frame that a ROUTER socket puts in front is not among them: one connection of ours
// is one peer, and the identity was in its handshake.
//
// What a request is for is not in it. A server of 8.x has a port for each target, so whoever
// receives one knows the target by the port. There are no acknowledgements, no deadlines, no
// heartbeats and no headers. The failure is the text of an object within the text.
//
// Payloads are cut as text: no number is decoded, and every digit arrives.
package legacy

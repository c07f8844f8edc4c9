// SPDX-License-Identifier: Apache-2.0

// Package wire is the message format of oslo.messaging's amqp1 driver
// (oslo_messaging/_drivers/impl_amqp1.py): a driver.Message as an AMQP 1.0 message and back.
//
// The body is JSON text in an amqp-value section, of three forms:
//
//	{"request": …, "context": {…}, "call_monitor_timeout": 2}   call, cast, notification
//	{"response": …}                                             reply
//	{"failure": "{\"class\": …}"}                               reply that is a failure
//
// and a heartbeat has no body at all. A notification of format 2.0 is in an envelope of its own:
// its request is {"oslo.version": "2.0", "oslo.message": "…"}. Everything else is in the header
// and the properties: a call's message-id comes back as the correlation-id of its replies.
//
// # What is ours
//
// Upstream sets no application-properties and a message-id on calls only. Here every message has
// its unique id as message-id, and application-properties carry what upstream has no place for,
// unseen by a Python peer:
//
//	parley_unique_id  string  Message.UniqueID of a call, when it is not the message-id
//	parley_deadline   long    Message.Deadline in Unix milliseconds
//	any other         string  Message.Headers
//
// The expiry is a time to live and never an absolute time: upstream's is that of the monotonic
// clock, which no peer can use.
//
// # What is strict and what is not
//
// The texts are put together and taken apart without decoding them, so that integers of any
// size, NaN and the order of keys stay as the peer wrote them. What is received is taken as far
// as it has one meaning: text in a string, as bytes or in data sections, ids of each of the four
// types of AMQP, requests with and without the envelope. Broken JSON, another version of the
// envelope and ids that make no sense are an *Error, and the message is to be rejected.
package wire

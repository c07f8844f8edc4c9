// SPDX-License-Identifier: Apache-2.0

// Package envelope is the message format of oslo.messaging, for drivers whose wire carries it
// as JSON text. It turns a driver.Message into such a text and back.
//
// There are two framings. In 2.0 the message is text within text:
//
//	{"oslo.version": "2.0", "oslo.message": "{\"method\": …, \"_unique_id\": …}"}
//
// and in 1.0 the inner object stands bare. RPC is always sent as 2.0, notifications as their
// Format says; both are understood. The framing is upstream's serialize_msg and
// deserialize_msg (oslo_messaging/_drivers/common.py), the reserved keys are those of
// oslo_messaging/_drivers/amqpdriver.py, and one of ours: _parley_deadline in requests, an integer,
// is Message.Deadline in Unix milliseconds. Peers that do not know it ignore it.
//
// # What is strict and what is not
//
// What is sent is exactly what a Python peer sends, including keys that look redundant: a
// Python client raises KeyError for a reply without failure and waits for ever for one without
// ending. What is received is taken as far as it has one meaning: unknown keys, missing unique
// ids and the reply forms of servers from before 2015 are understood; another envelope version,
// another content type and broken JSON are not.
//
// The bodies of messages are moved as text and never decoded, which keeps integers of any size,
// NaN and the order of keys as the peer wrote them.
package envelope

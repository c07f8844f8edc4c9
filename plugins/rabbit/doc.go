// SPDX-License-Identifier: Apache-2.0

// Command parley-driver-rabbit is the transport driver for RabbitMQ.
//
// # What it speaks
//
// AMQP 0-9-1, with the objects, properties and message format of oslo.messaging's rabbit driver
// (oslo_messaging/_drivers/impl_rabbit.py and amqpdriver.py): Python clients and servers on the
// same broker cannot tell it from one of theirs. URLs begin with rabbit:// or kombu://.
// A missing user or password is guest, a missing or empty path is the virtual host "/".
//
// # Options
//
// They have upstream's names and defaults, but for rabbit_confirm_acks and those that begin with
// notification_, which upstream does not have; "parley-driver-rabbit describe" lists them. Only what works is declared, so that an option
// that is accepted has its effect. Waits between attempts to connect follow rabbit_retry_interval, rabbit_retry_backoff and
// rabbit_interval_max, and are cut to two seconds while a message or a listener waits.
//
// # TLS
//
// With ssl=true, by upstream's options, from TLS 1.2 on. The broker must prove that it is the host of
// the URL, to the authorities of ssl_ca_file or those of the system; that is more than upstream asks
// for, which looks at the name only with ssl_ca_file.
// ssl_enforce_hostname_verification=false takes any name. Nothing turns the check of the chain off.
// The default port stays 5672. Files are read at each connection, so that renewed ones are used.
//
// # Topology
//
// A topic exchange (openstack by default) leads to the queues <topic> and <topic>.<server>;
// the fanout exchange <topic>_fanout, or <exchange>.<topic>_fanout_scoped_<n> when it is kept within
// its exchange, whose name has n bytes, to a queue <topic>_fanout_<hex> of each server, which is
// deleted when its listener closes. Replies go through the default exchange to the queue of
// their reply name, which has also a direct exchange of that name for servers before
// oslo.messaging 9.2. Notifications have a queue <topic>.<priority>, made by publisher and
// listener alike, or a queue of the pool's name. An object that exists with another durability
// or auto-delete flag is used as it is, with a warning in the log.
//
// # Queues of notifications
//
// As upstream's, a notifier declares the queue <topic>.<priority> of what it sends, so that
// notifications wait for their first listener, and fill the broker when none ever comes. When this
// driver declares such a queue, and every five minutes from then on, it looks at messages and
// consumers, and warns of a queue that has the one and not the other, once in an hour for each queue.
// "parley queues" shows the same.
//
// With notification_declare_queues=false a notifier declares the exchange alone: what no listener and
// no pool has a queue for is then dropped by the broker, in silence unless the message is mandatory.
// Listeners declare their own queues as ever.
//
// notification_queue_max_length, notification_queue_max_bytes, notification_queue_ttl and
// notification_queue_overflow bound what a queue without a pool holds. They are arguments of the
// queue, which RabbitMQ compares: services in Python, which have none, cannot declare a queue that was
// made with them, and fail. Use a policy of the broker where they share it. This driver takes a queue
// that exists with other limits, or with none, as it is, with a warning: delete it to have new ones.
// With reject-publish a notification that does not fit fails as BROKER_BLOCKED, in doubt, because
// another queue may have taken it.
//
// The queue of a pool has the pool's name, is bound for every topic and priority, and has no limits. It
// is a queue like any other: a pool that is called like a topic, a server's queue or
// <topic>.<priority> takes what was meant for others, and the others take from it. Listen refuses that
// with CONFIG where the same connection uses both names. AMQP does not tell whom else a queue serves;
// requests that come out of the queue of a pool are dropped by the core, with a log record that says
// why.
//
// # Guarantees
//
// A message counts as sent when the broker confirmed it. All are persistent; whether they
// survive the broker is up to the durability of their queue. One that was written and not
// confirmed when the connection broke fails as in doubt and is never sent again here; one that
// was not written waits for the next connection. Messages of one caller stay in order. Requests
// are acknowledged when Poll returns them, everything else when it is done; what is not settled
// when a channel is lost is delivered again.
//
// AMQP does not confirm an acknowledgement. When the connection goes right after one was written, the
// broker may not have got it, and gives a request to a second server that the first one runs. With
// rabbit_confirm_acks Poll asks the broker once more on the same channel, and returns a request when
// it has answered: only the broker itself can then forget that, when it dies. A request whose proof
// does not come is not returned; when only the answer was lost, nobody runs it.
//
// # Errors
//
// What certificates do is TLS_FAILED, and files that cannot be read when the driver is opened are
// CONFIG. 403 at login is AUTH_REFUSED and 530 VIRTUAL_HOST_MISSING; both fail at once, and are tried
// again in the background. 403 on an object is ACCESS_REFUSED, 405 and 406 are PRECONDITION and
// name the property that differs, a returned message is NO_ROUTE, an alarm at the broker is
// BROKER_BLOCKED, a message above the broker's limit is MESSAGE_TOO_LARGE, everything that the
// network does is NOT_CONNECTED.
//
// # Limits
//
// Two connections for each transport, one to send and one to receive, so that a broker which
// blocks publishers still takes acknowledgements. Confirms are awaited in the order of sending:
// a slow durable queue holds back the results, not the delivery, of what was sent after it.
// Messages larger than a frame (128 KiB) are sent one at a time. The prefetch holds for each
// queue, so that a server may be given up to three times the largest max of its Poll. A
// heartbeat cannot be turned off. There is no compression of what is sent, stream queue or queue
// manager yet.
package main

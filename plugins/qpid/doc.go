// SPDX-License-Identifier: Apache-2.0

// Command parley-driver-qpid is the transport driver for brokers and routers that speak AMQP 1.0.
//
// # What it speaks
//
// AMQP 1.0, with the addresses, links, settlement and message format of oslo.messaging's amqp1 driver
// (oslo_messaging/_drivers/impl_amqp1.py and amqp1_driver, last in 14.9.3): Python clients and servers
// on the same broker cannot tell it from one of theirs. URLs begin with qpid://; amqp:// means this
// driver only where the application says so. The default port is 5672, with TLS too.
//
// # Options
//
// They have the names and defaults that upstream has in its group oslo_messaging_amqp, but for
// reliable_casts, sasl_allow_insecure and terminus_capabilities, which upstream does not have;
// "parley-driver-qpid describe" lists them. Intervals and timeouts may have fractions, and be shorter
// than upstream allows. pre_settled takes its list with commas or spaces.
//
// Waits between attempts to connect begin with connection_retry_interval, after all hosts failed once,
// and are multiplied by connection_retry_backoff up to connection_retry_interval_max; a backoff of 0,
// which lets upstream try without a pause, leaves them as they are. A quarter of each is left to chance,
// and all are cut to two seconds while a message or a listener waits.
//
// sasl_config_dir and sasl_config_name are for the library Cyrus SASL, which is not used here: setting them is an
// error, and so is a list of sasl_mechanisms without one of PLAIN, ANONYMOUS and EXTERNAL. Mechanisms
// that are not known here are left out of a list that has others, with a warning.
//
// trace logs each frame, without the content of messages and without passwords, at debug level.
//
// # Login
//
// With a user in the URL it is SASL PLAIN, or what sasl_mechanisms allows. Without a user and without
// that option there is no SASL at all. The peer's order decides between several. A password is not
// sent without TLS to another machine: set ssl=true, or allow it by sasl_allow_insecure=true, which
// upstream needs nothing for. Connections to a loopback address need neither.
//
// # TLS
//
// With ssl=true, ssl_ca_file or ssl_cert_file, from TLS 1.2 on, and from the first byte: TLS within AMQP
// is not spoken. The peer must prove that it is the host of the URL, or with ssl_verify_vhost=true the
// virtual host, to the authorities of ssl_ca_file or those of the system. Nothing turns that off;
// ssl_verify_vhost without a virtual host, with which upstream checks no name, is an error. A key may be
// locked by ssl_key_password, as OpenSSL does by default. Files are read at each connection,
// so that renewed ones are used. A peer may take the name of the handshake for its virtual host
// (Broker-J does) when pseudo_vhost leaves it out of the opening.
//
// # Topology
//
// Nothing is declared: a link names an address, and the peer has, makes or refuses the node. A virtual
// host is a part of every address, or with pseudo_vhost=false the hostname that the connection is opened
// with. With addressing_mode=dynamic, the default, addresses are legacy for qpid-cpp and peers that
// do not tell their product, and routable for others, as upstream's; and legacy for Broker-J and
// RabbitMQ too, where routable ones cannot work and upstream has to be told. A log record says what was chosen, and why.
//
//	who receives   legacy                                     routable
//	one server     exclusive.<exchange>.<topic>.<server>      openstack.org/om/rpc/unicast/<exchange>/<topic>/<server>
//	any server     unicast.<exchange>.<topic>                 openstack.org/om/rpc/anycast/<exchange>/<topic>
//	all servers    broadcast.<exchange>.<topic>.all           openstack.org/om/rpc/multicast/<exchange>/<topic>
//	notifications  unicast.<exchange>.<topic>.<priority>      openstack.org/om/notify/anycast/<exchange>/<topic>.<priority>
//
// Replies go to a node that the peer makes for the link (a dynamic source), or, where it refuses that, to
// openstack.org.om.reply.<uuid>. The link is made when the first listener for replies is, and not before.
//
// # Guarantees
//
// Calls and notifications count as sent when the peer took them. A broker takes what it has stored, a
// router what the far end took. Casts and replies are sent settled by default (pre_settled), as by
// upstream: nobody learns that one got lost on its way. reliable_casts=true waits for casts, and is
// recommended. What the peer releases, or modifies without a failure, is sent again within its time, as
// the same message; what it rejects fails. One that was written and not settled when the link broke fails
// as in doubt and is never sent again here. Messages of one caller to one address stay in order.
//
// Requests are accepted when Poll returns them, everything else when it is done; what is not settled when
// a link is lost is delivered again by a broker. When the link of replies is lost, the
// outstanding calls that used it are told: the answer has nowhere to go any more.
//
// # Errors
//
// A refused login, and none where one is wanted, is AUTH_REFUSED and says what the peer offers; a
// certificate is TLS_FAILED; a hostname that the peer does not know is VIRTUAL_HOST_MISSING; a password
// that would go in the clear is CONFIG. These fail at once, and are tried again in the background. A
// missing node is NO_ROUTE (amqp:not-found), unauthorized-access and not-allowed are ACCESS_REFUSED,
// resource-limit-exceeded and no credit are BROKER_BLOCKED, message-size-exceeded is
// MESSAGE_TOO_LARGE, precondition-failed is PRECONDITION, not-implemented is UNSUPPORTED, and everything
// that the network does is NOT_CONNECTED.
//
// # Limits
//
// One connection for each transport, and one AMQP session for each link, as upstream has it: up to 256,
// or what the peer's channel-max leaves. Links beyond that share up to eight sessions for senders and
// eight for receivers, and fall together when a peer ends one. One attempt to connect has ten seconds. A peer that
// hangs is noticed after idle_timeout, or by TCP after half a minute. There is no SCRAM, no GSSAPI and
// no pool of listeners for notifications.
package main

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"slices"

	"github.com/parleymq/parley/internal/tlspeer"
	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/qpid/internal/address"
)

// The options, by upstream's names (oslo_messaging/_drivers/amqp1_driver/opts.py). Those of TLS are
// in tlspeer.
//
//nolint:gosec // a credit is no credential
const (
	optContainerName = "container_name"
	optIdleTimeout   = "idle_timeout"
	optTrace         = "trace"

	optMechanisms = "sasl_mechanisms"
	optConfigDir  = "sasl_config_dir"
	optConfigName = "sasl_config_name"
	optRealm      = "sasl_default_realm"

	optRetryInterval  = "connection_retry_interval"
	optRetryBackoff   = "connection_retry_backoff"
	optIntervalMax    = "connection_retry_interval_max"
	optLinkRetryDelay = "link_retry_delay"
	optReplyRetry     = "default_reply_retry"

	optReplyTimeout  = "default_reply_timeout"
	optSendTimeout   = "default_send_timeout"
	optNotifyTimeout = "default_notify_timeout"
	optSenderTimeout = "default_sender_link_timeout"

	optAddressingMode  = "addressing_mode"
	optPseudoVhost     = "pseudo_vhost"
	optServerPrefix    = "server_request_prefix"
	optBroadcastPrefix = "broadcast_prefix"
	optGroupPrefix     = "group_request_prefix"
	optRPCPrefix       = "rpc_address_prefix"
	optNotifyPrefix    = "notify_address_prefix"
	optMulticast       = "multicast_address"
	optUnicast         = "unicast_address"
	optAnycast         = "anycast_address"
	optNotifyExchange  = "default_notification_exchange"
	optRPCExchange     = "default_rpc_exchange"

	optReplyCredit  = "reply_link_credit"
	optRPCCredit    = "rpc_server_credit"
	optNotifyCredit = "notify_server_credit"
	optPreSettled   = "pre_settled"
)

// The options that upstream does not have.
const (
	optAllowInsecure = "sasl_allow_insecure"
	optReliableCasts = "reliable_casts"
	optTerminusCaps  = "terminus_capabilities"
)

// shortest is the least of the intervals and timeouts, in seconds. Upstream's least are 1 and 5: a
// value that it takes is taken here.
const shortest = 0.05

func optionSpecs() []driver.OptionSpec {
	return slices.Concat(connectionSpecs(), loginSpecs(), tlspeer.SpecsAMQP1(), addressSpecs(), deliverySpecs())
}

func connectionSpecs() []driver.OptionSpec {
	zero, least := driver.Bound(0), driver.Bound(shortest)
	return []driver.OptionSpec{
		{Name: optContainerName, Type: driver.OptionString, Default: "",
			Help: "how this side calls itself to the peer; empty for a name of its own for each connection"},
		{Name: optIdleTimeout, Type: driver.OptionSeconds, Default: "0", Min: zero, Max: driver.Bound(math.MaxInt32 / 1000),
			Help: "a peer that is silent for so long is given up; 0 leaves it to TCP, which notices after about half a minute"},
		{Name: optTrace, Type: driver.OptionBool, Default: "false",
			Help: "log the frames that come and go, without the content of messages, at debug level"},
		{Name: optRetryInterval, Type: driver.OptionSeconds, Default: "1", Min: least,
			Help: "how long to wait before connecting again, after all hosts failed once"},
		{Name: optRetryBackoff, Type: driver.OptionInt, Default: "2", Min: zero,
			Help: "by how much that wait is multiplied after each further failure; 0 and 1 leave it as it is"},
		{Name: optIntervalMax, Type: driver.OptionSeconds, Default: "30", Min: least,
			Help: "the longest wait between attempts"},
		{Name: optLinkRetryDelay, Type: driver.OptionSeconds, Default: "10", Min: least,
			Help: "how long to wait before a link that the peer closed is opened again, or a message that it gave back is sent again"},
	}
}

func loginSpecs() []driver.OptionSpec {
	return []driver.OptionSpec{
		{Name: optMechanisms, Type: driver.OptionString, Default: "",
			Help: "the SASL mechanisms that may be used, separated by spaces: PLAIN, ANONYMOUS, EXTERNAL; empty for PLAIN with a user in the URL, and no SASL at all without one"},
		{Name: optRealm, Type: driver.OptionString, Default: "",
			Help: "added to a user without one, as user@realm"},
		{Name: optAllowInsecure, Type: driver.OptionBool, Default: "false",
			Help: "send the password over a connection without TLS that leaves this machine"},
		{Name: optConfigDir, Type: driver.OptionString, Default: "",
			Help: "for Cyrus SASL, which this driver does not use: must be empty"},
		{Name: optConfigName, Type: driver.OptionString, Default: "",
			Help: "for Cyrus SASL, which this driver does not use: must be empty"},
	}
}

func addressSpecs() []driver.OptionSpec {
	defaults := address.Defaults()
	return []driver.OptionSpec{
		{Name: optAddressingMode, Type: driver.OptionString, Default: string(defaults.Mode),
			Choices: []string{string(address.Legacy), string(address.Routable), string(address.Dynamic)},
			Help:    "how addresses look; dynamic chooses by the peer's product"},
		{Name: optPseudoVhost, Type: driver.OptionBool, Default: "true",
			Help: "make the virtual host a part of every address; false tells it to the peer when connecting"},
		{Name: optServerPrefix, Type: driver.OptionString, Default: defaults.ServerRequestPrefix,
			Help: "begins the legacy addresses of one server"},
		{Name: optBroadcastPrefix, Type: driver.OptionString, Default: defaults.BroadcastPrefix,
			Help: "begins the legacy addresses of all servers"},
		{Name: optGroupPrefix, Type: driver.OptionString, Default: defaults.GroupRequestPrefix,
			Help: "begins the legacy addresses of any server"},
		{Name: optRPCPrefix, Type: driver.OptionString, Default: defaults.RPCAddressPrefix,
			Help: "begins the routable addresses of requests"},
		{Name: optNotifyPrefix, Type: driver.OptionString, Default: defaults.NotifyAddressPrefix,
			Help: "begins the routable addresses of notifications"},
		{Name: optMulticast, Type: driver.OptionString, Default: defaults.MulticastAddress,
			Help: "part of the routable addresses of all servers"},
		{Name: optUnicast, Type: driver.OptionString, Default: defaults.UnicastAddress,
			Help: "part of the routable addresses of one server"},
		{Name: optAnycast, Type: driver.OptionString, Default: defaults.AnycastAddress,
			Help: "part of the routable addresses of any server"},
		{Name: optNotifyExchange, Type: driver.OptionString, Default: "",
			Help: "the exchange of notifications to or from a target without one"},
		{Name: optRPCExchange, Type: driver.OptionString, Default: "",
			Help: "the exchange of requests to or from a target without one"},
		{Name: optTerminusCaps, Type: driver.OptionString, Default: string(address.TerminiAuto),
			Choices: []string{string(address.TerminiAuto), string(address.TerminiNone)},
			Help:    "whether links ask the peer for queues and topics: auto does of peers that make nodes by that, none does of none, as upstream"},
	}
}

func deliverySpecs() []driver.OptionSpec {
	one, most, least := driver.Bound(1), driver.Bound(math.MaxInt32), driver.Bound(shortest)
	return []driver.OptionSpec{
		{Name: optReplyRetry, Type: driver.OptionInt, Default: "0", Min: driver.Bound(-1), Max: most,
			Help: "how often a reply is sent again that the peer gave back; -1 for ever"},
		{Name: optReplyTimeout, Type: driver.OptionSeconds, Default: "30", Min: least,
			Help: "how long sending a reply may take"},
		{Name: optSendTimeout, Type: driver.OptionSeconds, Default: "30", Min: least,
			Help: "how long sending a request may take that has no time of its own"},
		{Name: optNotifyTimeout, Type: driver.OptionSeconds, Default: "30", Min: least,
			Help: "how long sending a notification may take that has no time of its own"},
		{Name: optSenderTimeout, Type: driver.OptionSeconds, Default: "600", Min: least,
			Help: "a link that sent nothing for so long is closed"},
		{Name: optReplyCredit, Type: driver.OptionInt, Default: "200", Min: one, Max: most,
			Help: "the most replies that the peer may send ahead"},
		{Name: optRPCCredit, Type: driver.OptionInt, Default: "100", Min: one, Max: most,
			Help: "the most requests that the peer may send ahead, for each of a server's three links"},
		{Name: optNotifyCredit, Type: driver.OptionInt, Default: "100", Min: one, Max: most,
			Help: "the most notifications that the peer may send ahead, for each topic and priority"},
		{Name: optPreSettled, Type: driver.OptionString, Default: "rpc-cast,rpc-reply",
			Help: "what is sent without waiting for the peer to take it, separated by commas: rpc-call, rpc-reply, rpc-cast, notify; such a message can vanish unseen"},
		{Name: optReliableCasts, Type: driver.OptionBool, Default: "false",
			Help: "wait for the peer to take a cast, whatever " + optPreSettled + " says; recommended"},
	}
}

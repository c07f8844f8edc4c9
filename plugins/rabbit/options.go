// SPDX-License-Identifier: Apache-2.0

package main

import (
	"log/slog"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/parleymq/parley/internal/tlspeer"
	"github.com/parleymq/parley/plugin/driver"
)

// The options, by upstream's names (oslo_messaging/_drivers/impl_rabbit.py, rabbit_opts).
const (
	optDurableQueues   = "amqp_durable_queues"
	optAutoDelete      = "amqp_auto_delete"
	optQuorumQueue     = "rabbit_quorum_queue"
	optTransientTTL    = "rabbit_transient_queues_ttl"
	optTransientQuorum = "rabbit_transient_quorum_queue"
	optHeartbeat       = "heartbeat_timeout_threshold"
	optRetryInterval   = "rabbit_retry_interval"
	optRetryBackoff    = "rabbit_retry_backoff"
	optIntervalMax     = "rabbit_interval_max"
	optFailover        = "kombu_failover_strategy"
	optPrefetch        = "rabbit_qos_prefetch_count"
	optDirectMandatory = "direct_mandatory_flag"
	optLoginMethod     = "rabbit_login_method"
)

// The options that upstream does not have.
const (
	optConfirmAcks     = "rabbit_confirm_acks"
	optNotifyDeclare   = "notification_declare_queues"
	optNotifyMaxLength = "notification_queue_max_length"
	optNotifyMaxBytes  = "notification_queue_max_bytes"
	optNotifyTTL       = "notification_queue_ttl"
	optNotifyOverflow  = "notification_queue_overflow"
)

// What a full queue of notifications does.
const (
	overflowDropHead = "drop-head"
	overflowReject   = "reject-publish"
)

const (
	failoverShuffle = "shuffle"
	loginPlain      = "PLAIN"
	loginAMQPlain   = "AMQPLAIN"
)

func optionSpecs() []driver.OptionSpec {
	return slices.Concat(wireSpecs(), notificationSpecs(), tlspeer.Specs())
}

// notificationSpecs are about the queues that hold notifications for listeners without a pool. What
// peers declare must agree, so that the default is what upstream does: they have no limit.
func notificationSpecs() []driver.OptionSpec {
	zero := driver.Bound(0)
	return []driver.OptionSpec{
		{Name: optNotifyDeclare, Type: driver.OptionBool, Default: "true",
			Help: "let a notifier declare the queues of its notifications, so that they wait for a listener; false drops what no listener or pool has a queue for"},
		{Name: optNotifyMaxLength, Type: driver.OptionInt, Default: "0", Min: zero, Max: driver.Bound(math.MaxInt32),
			Help: "the most notifications that a queue without a pool holds; 0 for no limit; declared with the queue, see the driver's documentation for peers in Python"},
		{Name: optNotifyMaxBytes, Type: driver.OptionInt, Default: "0", Min: zero, Max: driver.Bound(1 << 50),
			Help: "the most bytes of notifications that a queue without a pool holds; 0 for no limit; declared with the queue"},
		{Name: optNotifyTTL, Type: driver.OptionSeconds, Default: "0", Min: zero, Max: driver.Bound(2147483),
			Help: "how long a notification waits in a queue without a pool; 0 for ever; declared with the queue"},
		{Name: optNotifyOverflow, Type: driver.OptionString, Default: overflowDropHead, Choices: []string{overflowDropHead, overflowReject},
			Help: "what a full queue without a pool does: drop its oldest notification, or refuse the new one, which then fails to be sent"},
	}
}

func wireSpecs() []driver.OptionSpec {
	zero := driver.Bound(0)
	return []driver.OptionSpec{
		{Name: optDurableQueues, Type: driver.OptionBool, Default: "false", Renamed: []string{"rabbit_durable_queues"},
			Help: "declare the exchange and the queues of topics, servers and notifications durable"},
		{Name: optAutoDelete, Type: driver.OptionBool, Default: "false",
			Help: "declare the exchange and the queues of topics, servers and notifications auto-delete"},
		{Name: optQuorumQueue, Type: driver.OptionBool, Default: "false",
			Help: "use quorum queues for topics, servers and notifications; they are durable"},
		{Name: optTransientTTL, Type: driver.OptionSeconds, Default: "1800", Min: zero, Max: driver.Bound(2147483),
			Help: "how long a reply or fanout queue lives without a consumer; 0 for ever"},
		{Name: optTransientQuorum, Type: driver.OptionBool, Default: "false",
			Help: "use quorum queues for replies and fanout, and a durable fanout exchange"},
		{Name: optHeartbeat, Type: driver.OptionSeconds, Default: "60", Min: zero, Max: driver.Bound(65535),
			Help: "the AMQP heartbeat; a broker that is silent for one and a half times as long is given up; 0 takes the broker's own"},
		{Name: optRetryInterval, Type: driver.OptionSeconds, Default: "1", Min: driver.Bound(0.05),
			Help: "how long to wait before connecting again, after all hosts failed once"},
		{Name: optRetryBackoff, Type: driver.OptionSeconds, Default: "2", Min: zero,
			Help: "how much longer to wait after each further failure"},
		{Name: optIntervalMax, Type: driver.OptionSeconds, Default: "30", Min: driver.Bound(0.05),
			Help: "the longest wait between attempts"},
		{Name: optFailover, Type: driver.OptionString, Default: "round-robin", Choices: []string{"round-robin", failoverShuffle},
			Help: "the order in which the hosts of the URL are tried"},
		{Name: optPrefetch, Type: driver.OptionInt, Default: "0", Min: zero, Max: driver.Bound(65535),
			Help: "the most messages a queue's consumer is given ahead; 0 leaves it to the application's credit"},
		{Name: optDirectMandatory, Type: driver.OptionBool, Default: "true",
			Help: "send replies mandatory, so that a reply to a caller that is gone fails instead of vanishing"},
		{Name: optLoginMethod, Type: driver.OptionString, Default: loginAMQPlain, Choices: []string{loginAMQPlain, loginPlain},
			Help: "the SASL mechanism"},
		{Name: optConfirmAcks, Type: driver.OptionBool, Default: "false",
			Help: "run a request only when the broker proved that it took its acknowledgement, so that no other server runs it too; costs one round trip to the broker"},
	}
}

// settings is a Config, taken apart for the rest of the driver. It is never changed.
type settings struct {
	hosts   []driver.Host
	vhost   string
	appName string
	log     *slog.Logger
	report  func(driver.State)

	durable         bool
	autoDelete      bool
	quorum          bool
	transientTTL    time.Duration
	transientQuorum bool

	heartbeat     time.Duration
	retryInterval time.Duration
	retryBackoff  time.Duration
	intervalMax   time.Duration
	shuffle       bool
	loginMethod   string
	tls           *tlspeer.Settings // nil without TLS

	prefetch        int
	directMandatory bool
	confirmAcks     bool

	notifyDeclare bool       // the notifier declares queues
	notifyLimits  amqp.Table // arguments of queues of notifications without a pool, or nil
	notifyRejects bool       // a full one refuses
	watchInterval time.Duration
}

func newSettings(cfg driver.Config) (*settings, error) {
	if cfg.Variant != "" {
		return nil, driver.Errorf(driver.ReasonConfig, "the rabbit driver has no variant %q", cfg.Variant).
			WithHint("write rabbit:// without anything behind the name")
	}
	o := cfg.Options
	tls, err := tlspeer.From(o)
	if err != nil {
		return nil, err
	}
	s := &settings{
		hosts: withCredentials(cfg.Hosts), vhost: cfg.VirtualHost, appName: cfg.AppName,
		log: cfg.Logger, report: cfg.Report,
		durable: o.Bool(optDurableQueues), autoDelete: o.Bool(optAutoDelete), quorum: o.Bool(optQuorumQueue),
		transientTTL: o.Duration(optTransientTTL), transientQuorum: o.Bool(optTransientQuorum),
		heartbeat: o.Duration(optHeartbeat), retryInterval: o.Duration(optRetryInterval),
		retryBackoff: o.Duration(optRetryBackoff), intervalMax: o.Duration(optIntervalMax),
		shuffle: o.String(optFailover) == failoverShuffle, loginMethod: o.String(optLoginMethod), tls: tls,
		prefetch: o.Int(optPrefetch), directMandatory: o.Bool(optDirectMandatory),
		confirmAcks:   o.Bool(optConfirmAcks),
		notifyDeclare: o.Bool(optNotifyDeclare), notifyLimits: notifyLimits(o), watchInterval: watchInterval,
	}
	s.notifyRejects = s.notifyLimits[amqp.QueueOverflowArg] == overflowReject
	if s.vhost == "" {
		s.vhost = "/"
	}
	if s.appName == "" {
		s.appName = baseName(os.Args[0])
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.report == nil {
		s.report = func(driver.State) {}
	}
	return s, nil
}

// notifyLimits are the arguments of the limits that are set. The policy alone limits nothing.
func notifyLimits(o driver.Options) amqp.Table {
	limits := amqp.Table{}
	if n := o.Int(optNotifyMaxLength); n > 0 {
		limits[amqp.QueueMaxLenArg] = int32(n)
	}
	if n := o.Int(optNotifyMaxBytes); n > 0 {
		limits[amqp.QueueMaxLenBytesArg] = int64(n)
	}
	if len(limits) > 0 && o.String(optNotifyOverflow) != overflowDropHead {
		limits[amqp.QueueOverflowArg] = o.String(optNotifyOverflow)
	}
	if d := o.Duration(optNotifyTTL); d > 0 {
		limits[amqp.QueueMessageTTLArg] = int32(max(1, d.Milliseconds()))
	}
	if len(limits) == 0 {
		return nil
	}
	return limits
}

// withCredentials fills in what upstream's AMQP library does for a user or password that is
// missing or empty. A URL without a host means the one on this machine.
func withCredentials(hosts []driver.Host) []driver.Host {
	if len(hosts) == 0 {
		hosts = []driver.Host{{}}
	}
	out := make([]driver.Host, len(hosts))
	for i, h := range hosts {
		if h.User == "" {
			h.User = "guest"
		}
		if h.Password == "" {
			h.Password = "guest"
		}
		out[i] = h
	}
	return out
}

func baseName(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

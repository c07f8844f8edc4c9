// SPDX-License-Identifier: Apache-2.0

package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/parleymq/parley/internal/tlspeer"
	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/qpid/internal/address"
)

// settings is a Config, taken apart for the rest of the driver. It is never changed.
type settings struct {
	hosts   []driver.Host
	appName string
	log     *slog.Logger
	report  func(driver.State)

	container   string // container-id; empty for one of each connection
	hostname    string // of the open frame; empty for none
	idleTimeout time.Duration
	trace       bool
	tls         *tlspeer.Settings // nil without TLS
	login       loginSettings

	dialTimeout   time.Duration // of one attempt
	retryInterval time.Duration
	retryBackoff  int
	intervalMax   time.Duration

	addresses address.Options // how targets become addresses; its Mode may be address.Dynamic

	linkRetryDelay    time.Duration // before a link that the peer closed is attached again
	replyRetry        int           // link_retry for replies; -1 for ever
	replyTimeout      time.Duration
	sendTimeout       time.Duration
	notifyTimeout     time.Duration
	senderLinkTimeout time.Duration // after which an idle sender link is closed
	replyCredit       int
	rpcCredit         int
	notifyCredit      int
	preSettled        map[driver.Kind]bool // Call, Reply, Cast, Notification (Heartbeat goes with Reply)
}

// newSettings checks what can be checked without the network (OPEN-1).
func newSettings(cfg driver.Config) (*settings, error) {
	if cfg.Variant != "" {
		return nil, driver.Errorf(driver.ReasonConfig, "the qpid driver has no variant %q", cfg.Variant).
			WithHint("write qpid:// without anything behind the name; for TLS set %s=true", tlspeer.OptEnabled)
	}
	o := cfg.Options
	tls, err := tlspeer.FromConfig(cfg)
	if err != nil {
		return nil, err
	}
	settled, err := preSettled(o)
	if err != nil {
		return nil, err
	}
	s := &settings{
		hosts: cfg.Hosts, appName: cfg.AppName, log: cfg.Logger, report: cfg.Report,
		container: o.String(optContainerName), idleTimeout: o.Duration(optIdleTimeout), trace: o.Bool(optTrace), tls: tls,
		dialTimeout:   dialTimeout,
		retryInterval: o.Duration(optRetryInterval), retryBackoff: o.Int(optRetryBackoff), intervalMax: o.Duration(optIntervalMax),
		addresses:      addressOptions(o, cfg.DefaultExchange),
		linkRetryDelay: o.Duration(optLinkRetryDelay), replyRetry: o.Int(optReplyRetry),
		replyTimeout: o.Duration(optReplyTimeout), sendTimeout: o.Duration(optSendTimeout), notifyTimeout: o.Duration(optNotifyTimeout),
		senderLinkTimeout: o.Duration(optSenderTimeout),
		replyCredit:       o.Int(optReplyCredit), rpcCredit: o.Int(optRPCCredit), notifyCredit: o.Int(optNotifyCredit),
		preSettled: settled,
	}
	if o.Bool(optPseudoVhost) {
		s.addresses.VirtualHost = cfg.VirtualHost
	} else {
		s.hostname = cfg.VirtualHost
	}
	s.fillIn()
	if s.login, err = newLogin(o, s); err != nil {
		return nil, err
	}
	return s, nil
}

// fillIn sets what a Config may leave out.
func (s *settings) fillIn() {
	if len(s.hosts) == 0 {
		s.hosts = []driver.Host{{}} // the one on this machine
	}
	if s.appName == "" {
		s.appName = filepath.Base(os.Args[0])
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.report == nil {
		s.report = func(driver.State) {}
	}
}

// preSettled reads the list of kinds that are sent settled.
func preSettled(o driver.Options) (map[driver.Kind]bool, error) {
	kinds := map[string]driver.Kind{
		"rpc-call": driver.Call, "rpc-reply": driver.Reply, "rpc-cast": driver.Cast, "notify": driver.Notification,
	}
	settled := make(map[driver.Kind]bool, len(kinds))
	for _, name := range words(o.String(optPreSettled)) {
		kind, ok := kinds[name]
		if !ok {
			e := driver.Errorf(driver.ReasonConfig, "option %s: there is no kind of message called %q", optPreSettled, name)
			names := []string{"notify", "rpc-call", "rpc-cast", "rpc-reply"}
			if near := driver.Nearest(name, names); near != "" {
				return nil, e.WithHint("did you mean %q?", near)
			}
			return nil, e.WithHint("it takes %s", strings.Join(names, ", "))
		}
		settled[kind] = true
	}
	if o.Bool(optReliableCasts) {
		delete(settled, driver.Cast)
	}
	return settled, nil
}

// words splits a list as people write it: by commas, by spaces or both.
func words(list string) []string {
	return slices.DeleteFunc(strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' }),
		func(w string) bool { return w == "" })
}

func addressOptions(o driver.Options, exchange string) address.Options {
	a := address.Defaults()
	if exchange != "" {
		a.DefaultExchange = exchange
	}
	a.Mode = address.Mode(o.String(optAddressingMode))
	a.ServerRequestPrefix, a.BroadcastPrefix, a.GroupRequestPrefix = o.String(optServerPrefix), o.String(optBroadcastPrefix), o.String(optGroupPrefix)
	a.RPCAddressPrefix, a.NotifyAddressPrefix = o.String(optRPCPrefix), o.String(optNotifyPrefix)
	a.MulticastAddress, a.UnicastAddress, a.AnycastAddress = o.String(optMulticast), o.String(optUnicast), o.String(optAnycast)
	a.DefaultRPCExchange, a.DefaultNotificationExchange = o.String(optRPCExchange), o.String(optNotifyExchange)
	a.Termini = address.Termini(o.String(optTerminusCaps))
	return a
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/parleymq/parley/internal/spool"
	"github.com/parleymq/parley/internal/tlspeer"
	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/zmq/internal/node"
	"github.com/parleymq/parley/plugins/zmq/internal/registry"
	"github.com/parleymq/parley/plugins/zmq/internal/zmtp"
)

// settings are what a URL and its options come to.
type settings struct {
	registry registry.Options
	node     node.Options
}

func newSettings(cfg driver.Config) (*settings, error) {
	// What follows would complain of something else first.
	if err := registry.CheckVariant(cfg.Variant); err != nil {
		return nil, err
	}
	o := cfg.Options
	s := &settings{
		registry: registry.Options{
			Variant: cfg.Variant, Hosts: cfg.Hosts, TTL: o.Duration(optExpire), Layout: o.String(optRedisLayout),
			Insecure: o.Bool(optInsecure), Logger: cfg.Logger,
		},
		node: node.Options{
			Instance: cfg.Instance, Name: nodeName(cfg.AppName), Advertise: o.String(optHost),
			QueueMessages: o.Int(optQueue), QueueBytes: o.Int(optQueueBytes), Window: o.Int(optWindow),
			MaxMessage: o.Int(optMaxMessage), RouteWait: o.Duration(optRouteWait), HoldTime: o.Duration(optHoldTime),
			DeadAfter: o.Duration(optDeadAfter), OrphanTime: o.Duration(optOrphanTime), MeshLimit: o.Int(optMeshLimit),
			Logger: cfg.Logger, Report: cfg.Report,
			Conn: zmtp.Options{
				MaxMessage: o.Int(optMaxMessage) + headroom, PingInterval: o.Duration(optHeartbeat), Logger: cfg.Logger,
			},
		},
	}
	if dir := o.String(optSpool); dir != "" {
		s.node.Spool = &spool.Options{
			Dir: dir, MaxBytes: int64(o.Int(optSpoolBytes)), MaxAge: o.Duration(optSpoolAge), Sync: o.String(optSpoolSync), Logger: cfg.Logger,
		}
	}
	if err := s.place(cfg); err != nil {
		return nil, err
	}
	if err := s.bind(cfg); err != nil {
		return nil, err
	}
	return s, s.secure(cfg)
}

// headroom is for what the wire adds to a message.
const headroom = 256 << 10

func nodeName(app string) string {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	if app == "" {
		return host
	}
	return app + "@" + host
}

// local reports whether all peers are on this machine.
func local(cfg driver.Config) bool { return cfg.Variant == "" || cfg.Variant == "local" }

// place says where to look for peers.
func (s *settings) place(cfg driver.Config) error {
	path := cfg.VirtualHost
	switch {
	case local(cfg):
		if len(cfg.Hosts) > 0 && cfg.Hosts[0].Name != "" && cfg.Hosts[0].Name != "localhost" {
			return aHost(cfg.Hosts[0].Name, path)
		}
		if path != "" {
			s.registry.Path, s.registry.HasPath = "/"+path, true
		}
	case cfg.Variant == "static" || cfg.Variant == "sentinel":
		s.registry.Path, s.registry.HasPath = path, cfg.HasVirtualHost
		if cfg.Variant == "static" && path != "" && hostless(cfg.Hosts) {
			s.registry.Path = "/" + path
		}
	default:
		s.registry.Namespace = path
	}
	return nil
}

// aHost is why zmq:// takes no host, which is often a directory without its first slash.
func aHost(name, path string) error {
	e := driver.Errorf(driver.ReasonConfig, "zmq:// finds peers on this machine, and the URL names the host %q", name)
	others := fmt.Sprintf("use zmq+seeds://%s for peers on several machines, or zmq+redis://%s for Redis", name, name)
	if path != "" {
		return e.WithHint("write zmq:///%s/%s for a directory; %s", name, path, others)
	}
	return e.WithHint("%s", others)
}

// hostless reports whether a URL goes from its scheme to its path.
func hostless(hosts []driver.Host) bool {
	return !slices.ContainsFunc(hosts, func(h driver.Host) bool { return h.Name != "" })
}

// bind says where to listen.
func (s *settings) bind(cfg driver.Config) error {
	o := cfg.Options
	transport := o.String(optTransport)
	if transport == transportAuto {
		transport = transportTCP
		if local(cfg) && o.String(optBindAddress) == "" && o.Int(optMinPort) == 0 && !o.Bool(tlspeer.OptEnabled) {
			transport = transportIPC
		}
	}
	if transport == transportIPC {
		dir, err := registry.SocketDir(s.registry)
		if err == nil {
			s.node.Bind = []string{"ipc://" + dir + "/{node}.sock"}
			return nil
		}
		if o.String(optTransport) == transportIPC {
			return err
		}
	}
	host := o.String(optBindAddress)
	switch {
	case host != "":
	case local(cfg):
		host = "127.0.0.1"
	default:
		host = "*"
	}
	low, high := o.Int(optMinPort), o.Int(optMaxPort)
	if high != 0 && high < low {
		return driver.Errorf(driver.ReasonConfig, "option %s=%d is below %s=%d", optMaxPort, high, optMinPort, low)
	}
	s.node.Bind = []string{fmt.Sprintf("tcp://%s:%s", bracketed(host), portRange(low, high))}
	return nil
}

func bracketed(host string) string {
	if host = strings.Trim(host, "[]"); strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

func portRange(low, high int) string {
	if high > low {
		return fmt.Sprintf("%d-%d", low, high)
	}
	return strconv.Itoa(low)
}

// exposed reports whether an endpoint can be reached from other machines.
func exposed(endpoint string) bool {
	rest, ok := strings.CutPrefix(endpoint, "tcp://")
	if !ok {
		return false
	}
	host := strings.Trim(rest[:strings.LastIndex(rest, ":")], "[]")
	ip := net.ParseIP(host)
	return host != "localhost" && (ip == nil || !ip.IsLoopback())
}

// SPDX-License-Identifier: Apache-2.0

package main

import "github.com/parleymq/parley/plugin/driver"

// The options with upstream's names (oslo_messaging/_drivers/zmq_driver/zmq_options.py of 8.1.4).
const (
	optBindAddress = "rpc_zmq_bind_address"
	optHost        = "rpc_zmq_host"
	optMinPort     = "rpc_zmq_min_port"
	optMaxPort     = "rpc_zmq_max_port"
	optExpire      = "zmq_target_expire"
)

// The options that upstream does not have.
const (
	optTransport   = "zmq_transport"
	optInsecure    = "zmq_insecure"
	optQueue       = "zmq_queue_messages"
	optQueueBytes  = "zmq_queue_bytes"
	optMaxMessage  = "zmq_max_message"
	optWindow      = "zmq_window"
	optHeartbeat   = "zmq_heartbeat"
	optDeadAfter   = "zmq_dead_after"
	optOrphanTime  = "zmq_orphan_time"
	optRouteWait   = "zmq_route_wait"
	optHoldTime    = "zmq_hold_time"
	optMeshLimit   = "zmq_mesh_limit"
	optRedisLayout = "zmq_redis_layout"
	optSpool       = "zmq_spool"
	optSpoolBytes  = "zmq_spool_bytes"
	optSpoolAge    = "zmq_spool_age"
	optSpoolSync   = "zmq_spool_sync"
)

const (
	transportAuto = "auto"
	transportIPC  = "ipc"
	transportTCP  = "tcp"
)

func optionSpecs() []driver.OptionSpec {
	zero, one := driver.Bound(0), driver.Bound(1)
	port := driver.Bound(65535)
	return append([]driver.OptionSpec{
		{Name: optTransport, Type: driver.OptionString, Default: transportAuto, Choices: []string{transportAuto, transportIPC, transportTCP},
			Help: "what peers connect by: auto is ipc for zmq:// on one machine, and tcp for everything else"},
		{Name: optBindAddress, Type: driver.OptionString,
			Help: "the address to listen on, * or [::] for all; the loopback for zmq:// on one machine, else *"},
		{Name: optHost, Type: driver.OptionString,
			Help: "the host name or address that peers are told; the first address of this machine if not set"},
		{Name: optMinPort, Type: driver.OptionInt, Default: "0", Min: zero, Max: port,
			Help: "the lowest port to listen on; 0 lets the system choose"},
		{Name: optMaxPort, Type: driver.OptionInt, Default: "0", Min: zero, Max: port,
			Help: "the highest port to listen on; the same as the lowest if 0"},
		{Name: optInsecure, Type: driver.OptionBool, Default: "false",
			Help: "listen beyond this machine without ssl: whoever reaches the port can call and read everything"},
		{Name: optHeartbeat, Type: driver.OptionSeconds, Default: "1", Min: driver.Bound(0.1), Max: driver.Bound(60),
			Help: "how often an idle connection is tested; three in a row unanswered end it"},
		{Name: optDeadAfter, Type: driver.OptionSeconds, Default: "3", Min: driver.Bound(0.1),
			Help: "how long a peer may be without a connection before it counts as gone"},
		{Name: optOrphanTime, Type: driver.OptionSeconds, Default: "5", Min: zero,
			Help: "how long to wait for the driver of an application that is gone to be started again, with what that one was sent"},
		{Name: optRouteWait, Type: driver.OptionSeconds, Default: "1", Min: zero,
			Help: "how long a mandatory message waits for a listener to be found"},
		{Name: optHoldTime, Type: driver.OptionSeconds, Default: "60", Min: one,
			Help: "how long a message without a time limit, and a reply, waits for a listener"},
		{Name: optExpire, Type: driver.OptionSeconds, Default: "15", Min: one,
			Help: "how long a record of a node lives that is not renewed, in a directory or Redis"},
		{Name: optQueue, Type: driver.OptionInt, Default: "10000", Min: one,
			Help: "messages that wait in one listener before senders are told that it is busy"},
		{Name: optQueueBytes, Type: driver.OptionInt, Default: "67108864", Min: one,
			Help: "the same in bytes"},
		{Name: optMaxMessage, Type: driver.OptionInt, Default: "67108864", Min: driver.Bound(1024), Max: driver.Bound(1 << 30),
			Help: "bytes of the largest message sent or taken"},
		{Name: optWindow, Type: driver.OptionInt, Default: "1024", Min: one,
			Help: "messages that one peer may be sent before it answers"},
		{Name: optMeshLimit, Type: driver.OptionInt, Default: "32", Min: zero,
			Help: "up to how many nodes everybody keeps a connection to everybody; above it, to those it sends to"},
		{Name: optRedisLayout, Type: driver.OptionString, Default: "parley", Choices: []string{"parley", "oslo8"},
			Help: "zmq+redis: what is written to Redis; oslo8 is found by oslo.messaging up to 8.1 as well"},
		{Name: optSpool, Type: driver.OptionString,
			Help: "a directory for notifications that nobody listens to, of this transport alone; without one they wait in memory, for as long as their sender does"},
		{Name: optSpoolBytes, Type: driver.OptionInt, Default: "268435456", Min: driver.Bound(65536),
			Help: "how many bytes may be stored there; above it notifications are refused"},
		{Name: optSpoolAge, Type: driver.OptionSeconds, Default: "86400", Min: one,
			Help: "how long they are kept"},
		{Name: optSpoolSync, Type: driver.OptionString, Default: "batch", Choices: []string{"none", "batch", "each"},
			Help: "when they are safe from a loss of power: when the system likes, within 0.1 s, or before the sender is told"},
	}, tlsSpecs()...)
}

// SPDX-License-Identifier: Apache-2.0

package peertest

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// rabbitNodeFiles is where a node lives: its directory and its ports. It is all
// that another process needs in order to use the node, so it is also what a
// descriptor holds.
type rabbitNodeFiles struct {
	Dir            string `json:"dir"`
	Port           int    `json:"port"`
	ManagementPort int    `json:"management_port"`
	DistPort       int    `json:"dist_port"`
	EPMDPort       int    `json:"epmd_port"`
	TLSPort        int    `json:"tls_port"`
}

// newRabbitNodeFiles makes the directory of a new node and writes its
// configuration, with config at its end.
func newRabbitNodeFiles(config string, tls *TLSFiles) (rabbitNodeFiles, error) {
	ports, err := freePorts(5)
	if err != nil {
		return rabbitNodeFiles{}, err
	}
	dir, err := os.MkdirTemp("", "parley-rabbitmq-")
	if err != nil {
		return rabbitNodeFiles{}, fmt.Errorf("make the directory of a RabbitMQ node: %w", err)
	}
	n := rabbitNodeFiles{Dir: dir, Port: ports[0], ManagementPort: ports[1], DistPort: ports[2], EPMDPort: ports[3], TLSPort: ports[4]}
	config += tls.config(n.TLSPort)
	if err := n.write(config); err != nil {
		return rabbitNodeFiles{}, errors.Join(fmt.Errorf("set up a RabbitMQ node in %s: %w", dir, err), os.RemoveAll(dir))
	}
	return n, nil
}

func (n rabbitNodeFiles) write(config string) error {
	// Nodes and rabbitmqctl prove with the cookie that they belong together. It
	// must be readable by its owner only, or Erlang refuses to start.
	if err := os.WriteFile(n.path(".erlang.cookie"), []byte(rand.Text()), 0o400); err != nil {
		return err
	}
	conf := fmt.Sprintf(`management.tcp.ip = 127.0.0.1
management.tcp.port = %d
# The management plugin is here to make and delete vhosts quickly. Its
# statistics are not used and would take processor time from the tests.
management_agent.disable_metrics_collector = true
%s
`, n.ManagementPort, config)
	if err := os.WriteFile(n.path("rabbitmq.conf"), []byte(conf), 0o600); err != nil {
		return err
	}
	return os.WriteFile(n.path("enabled_plugins"), []byte("[rabbitmq_management].\n"), 0o600)
}

func (n rabbitNodeFiles) path(name string) string { return filepath.Join(n.Dir, name) }

// mark tells the broker's processes from all others.
func (n rabbitNodeFiles) mark() string { return n.Dir }

// epmdMark tells the port mapper, which outlives a stop of the broker.
func (n rabbitNodeFiles) epmdMark() string { return n.Dir + "/epmd" }

// environ is the environment of the broker and of rabbitmqctl. Nothing of the
// caller's is passed on but PATH, so that settings of a system-wide broker
// cannot leak in.
func (n rabbitNodeFiles) environ() []string {
	return n.environMarked(n.mark())
}

func (n rabbitNodeFiles) environMarked(mark string) []string {
	return []string{
		markVariable + "=" + mark,
		"PATH=" + os.Getenv("PATH"),
		"LANG=C.UTF-8",
		"HOME=" + n.Dir,
		"ERL_EPMD_ADDRESS=127.0.0.1",
		"ERL_EPMD_PORT=" + strconv.Itoa(n.EPMDPort),
		"RABBITMQ_NODENAME=" + rabbitNode,
		"RABBITMQ_NODE_IP_ADDRESS=127.0.0.1",
		"RABBITMQ_NODE_PORT=" + strconv.Itoa(n.Port),
		"RABBITMQ_DIST_PORT=" + strconv.Itoa(n.DistPort),
		"RABBITMQ_CONF_ENV_FILE=/dev/null",
		"RABBITMQ_CONFIG_FILE=" + n.path("rabbitmq"),
		"RABBITMQ_ADVANCED_CONFIG_FILE=" + n.path("advanced"),
		"RABBITMQ_ENABLED_PLUGINS_FILE=" + n.path("enabled_plugins"),
		"RABBITMQ_MNESIA_BASE=" + n.path("mnesia"),
		"RABBITMQ_LOG_BASE=" + n.path("log"),
		"RABBITMQ_PID_FILE=" + n.path("pid"),
		// With this the script becomes the broker instead of waiting for it as a
		// child, so that signals and the parent-death signal reach the broker.
		"RABBITMQ_ALLOW_INPUT=1",
		"RABBITMQ_SERVER_START_ARGS=-noinput -start_epmd false -kernel inet_dist_use_interface {127,0,0,1}",
	}
}

// SPDX-License-Identifier: Apache-2.0

package bridge_test

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/parleymq/parley/internal/bridge"
	"github.com/parleymq/parley/internal/memory"
	"github.com/parleymq/parley/plugin/driver"
)

// majorsEnv makes the test's program a driver of such majors.
const majorsEnv = "PARLEY_TEST_MAJORS"

func quietConfig() bridge.ServerConfig {
	return bridge.ServerConfig{
		SDKVersion: "test", Logger: slog.New(slog.DiscardHandler), Level: new(slog.LevelVar),
		SessionStarted: func() {}, SessionEnded: func() {},
	}
}

// serveMajors is the program of such a driver.
func serveMajors(text string) {
	var majors []int
	for _, field := range strings.Split(text, ",") {
		var n int
		if _, err := fmt.Sscan(field, &n); err != nil {
			os.Exit(1)
		}
		majors = append(majors, n)
	}
	server := bridge.NewServer(memory.New(), quietConfig().WithMajors(majors...))
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: bridge.Handshake(), VersionedPlugins: bridge.PluginsOf(server, majors...),
		GRPCServer: plugin.DefaultGRPCServer, Logger: hclog.NewNullLogger(),
	})
}

// TestMajors: the highest major that both speak is taken; without one the error says which side
// is older. Both parts are asked: go-plugin's handshake of a real process, and Hello.
func TestMajors(t *testing.T) {
	for _, c := range []struct {
		host, driver []int
		major        int // 0: none in common
		says, hint   string
	}{
		{host: []int{1}, driver: []int{1}, major: 1},
		{host: []int{1, 2}, driver: []int{1}, major: 1},
		{host: []int{1}, driver: []int{1, 2}, major: 1},
		{host: []int{1, 2}, driver: []int{2, 1}, major: 2},
		{host: []int{2, 3}, driver: []int{1}, says: "speaks protocol major 1, the host speaks 2, 3: the driver is older", hint: "newer version of the driver"},
		{host: []int{1}, driver: []int{2}, says: "speaks protocol major 2, the host speaks 1: the host is older", hint: "upgrade the application"},
		{host: []int{1, 3}, driver: []int{2}, says: "speaks protocol major 2, the host speaks 1, 3", hint: "one of the host's majors"},
	} {
		t.Run(fmt.Sprintf("host %v driver %v", c.host, c.driver), func(t *testing.T) {
			p := newPairOf(t, memory.New(), quietConfig().WithMajors(c.driver...))
			peer, err := bridge.Hello(within(t), p.cc, bridge.HelloOptions{HostVersion: "test", Epoch: testEpoch}.WithMajors(c.host...))
			client, perr := startMajors(t, c.host, c.driver)
			if c.major == 0 {
				e := driver.AsError(err)
				if e.Reason != driver.ReasonProtocol || !strings.Contains(e.Message, c.says) || !strings.Contains(e.Hint, c.hint) {
					t.Errorf("got %v", err)
				}
				if perr == nil {
					t.Error("go-plugin found a common major")
				}
				return
			}
			if err != nil || peer.Major() != c.major {
				t.Fatalf("got %v, %v", peer, err)
			}
			if perr != nil || client.NegotiatedVersion() != c.major {
				t.Errorf("go-plugin took %d: %v", client.NegotiatedVersion(), perr)
			}
			// It works as that major.
			conn := openPeer(t, peer)
			if err := conn.Send(within(t), []*driver.Message{castTo("t", "1", []byte("{}"))}); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestDriverAnswersAnotherMajor: a driver that takes a major which it was not offered.
func TestDriverAnswersAnotherMajor(t *testing.T) {
	for answered, says := range map[uint32]string{2: "the host is older", 0: "the driver is older"} {
		cc := answering{major: answered}
		_, err := bridge.Hello(within(t), cc, bridge.HelloOptions{Epoch: testEpoch})
		if driver.ReasonOf(err) != driver.ReasonProtocol || !strings.Contains(err.Error(), says) {
			t.Errorf("major %d: %v", answered, err)
		}
	}
}

// startMajors starts a driver's process and dispenses from it.
func startMajors(t *testing.T, host, drv []int) (*plugin.Client, error) {
	t.Helper()
	texts := make([]string, len(drv))
	for i, n := range drv {
		texts[i] = strconv.Itoa(n)
	}
	cmd := exec.Command(os.Args[0])
	sockets, err := os.MkdirTemp("", "pm") // short, for a socket's address has little room
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = os.RemoveAll(sockets) })
	cmd.Env = append(os.Environ(), majorsEnv+"="+strings.Join(texts, ","), "PLUGIN_UNIX_SOCKET_DIR="+sockets)
	client := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig: bridge.Handshake(), VersionedPlugins: bridge.PluginsOf(nil, host...), Cmd: cmd,
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC}, Logger: hclog.NewNullLogger(), Stderr: io.Discard,
	})
	t.Cleanup(client.Kill)
	protocol, err := client.Client()
	if err != nil {
		return client, err
	}
	raw, err := protocol.Dispense(bridge.PluginName)
	if err != nil {
		return client, err
	}
	if _, ok := raw.(grpc.ClientConnInterface); !ok {
		t.Errorf("dispensed a %T", raw)
	}
	return client, nil
}

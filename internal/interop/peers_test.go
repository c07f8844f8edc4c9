// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"testing"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

// The topics of the matrix: the servers of each language have their own.
const (
	pythonTopic = "python"
	goTopic     = "go"
)

// trusted is the module whose exceptions the Python peers rebuild.
const trusted = "peererrors"

// peers are the servers and clients that the cells of one release share.
type peers struct {
	*meeting
	broker *peertest.RabbitMQ // of a wire with a proxy
	vhost  string
	url    string // Parley's

	// Python serves as py1, which answers pings of the framework, and as py2.
	pythonServers map[string]*peertest.PythonServer
	pythonClient  *peertest.PythonClient

	// Go serves as go1, which answers pings of the framework, and as go2, each through a driver
	// process of its own, and calls Python through a third.
	goServers map[string]*recorder
	goLogs    *testbed.Logs // of go1
	goClient  *messaging.RPCClient
	calling   *messaging.Transport
}

func newPeers(t *testing.T, m *meeting) *peers {
	place := m.wire.New(t)
	p := &peers{meeting: m, broker: place.Broker, vhost: place.Vhost, url: place.URL, goServers: make(map[string]*recorder)}
	p.pythonServers = pythonServers(t, m, p.url, pythonTopic, "py1", "py2")
	p.pythonClient = peertest.RunPythonClient(t, m.python, peertest.PythonClientOptions{
		URL: m.pythonURL(p.url), AllowedRemoteModules: []string{trusted}, Conf: m.conf(),
	})
	first, logs := bed.Open(t, p.url)
	second, _ := bed.Open(t, p.url)
	p.goLogs = logs
	p.goServers["go1"] = servePinged(t, first, goTopic, "go1")
	p.goServers["go2"] = goServer(t, second, goTopic, "go2")
	p.calling, _ = bed.Open(t, p.url)
	p.goClient = messaging.NewRPCClient(p.calling, messaging.Target{Topic: pythonTopic}, &messaging.RPCClientOptions{Timeout: patience})
	return p
}

// call lets Python call the Go servers. What the request leaves open is filled in.
func (p *peers) call(t *testing.T, r peertest.Request) (peertest.Reply, error) {
	t.Helper()
	if r.Topic == "" {
		r.Topic = goTopic
	}
	return p.pythonClient.Call(soon(t), r)
}

// callText is call where the result is a text.
func (p *peers) callText(t *testing.T, r peertest.Request) (string, error) {
	t.Helper()
	reply, err := p.call(t, r)
	if err != nil {
		return "", err
	}
	s, ok := decodeJSON(t, reply.Result).(string)
	if !ok {
		t.Fatalf("the result is %.200s", reply.Result)
	}
	return s, nil
}

// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/messaging"
)

var bed = testbed.Bed{Also: []string{wireQpid}}

func TestMain(m *testing.M) { os.Exit(bed.Main(m, nil)) }

const (
	// patience bounds every wait for what must happen, on a machine that does other things.
	patience = 30 * time.Second
	// slack is how much later than its timeout a call may return on such a machine.
	slack = 3 * time.Second
)

func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// pythonServerOptions are those of a server that trusts a module, and answers the framework's
// pings when it is the first.
func pythonServerOptions(m *meeting, url, topic, name string) peertest.PythonServerOptions {
	o := peertest.PythonServerOptions{
		URL: m.pythonURL(url), Topic: topic, Server: name, AllowedRemoteModules: []string{trusted}, Conf: m.conf(),
	}
	if name == "py1" {
		o.Conf["DEFAULT"] = map[string]any{"rpc_ping_enabled": true}
	}
	return o
}

// pythonServers starts one Python server for each name, at the same time.
func pythonServers(t *testing.T, m *meeting, url, topic string, names ...string) map[string]*peertest.PythonServer {
	t.Helper()
	type started struct {
		name   string
		server *peertest.PythonServer
		err    error
	}
	results := make(chan started, len(names))
	for _, name := range names {
		go func() {
			s, err := peertest.StartPythonServer(t.Context(), m.python, pythonServerOptions(m, url, topic, name))
			results <- started{name, s, err}
		}()
	}
	servers := make(map[string]*peertest.PythonServer)
	for range names {
		r := <-results
		if r.err != nil {
			t.Error(r.err)
			continue
		}
		t.Cleanup(func() {
			if err := r.server.Close(); err != nil {
				t.Error(err)
			}
			if t.Failed() {
				t.Logf("output of %s:\n%s", r.name, r.server.Output())
			}
		})
		servers[r.name] = r.server
	}
	if t.Failed() {
		t.FailNow()
	}
	return servers
}

// goServer runs a server in this process that has the methods of the Python one.
func goServer(t *testing.T, tr *messaging.Transport, topic, name string) *recorder {
	t.Helper()
	return serve(t, tr, topic, name, nil)
}

// servePinged is goServer that answers the pings of the framework.
func servePinged(t *testing.T, tr *messaging.Transport, topic, name string) *recorder {
	t.Helper()
	return serve(t, tr, topic, name, &messaging.RPCServerOptions{Ping: true})
}

func serve(t *testing.T, tr *messaging.Transport, topic, name string, o *messaging.RPCServerOptions) *recorder {
	t.Helper()
	r := &recorder{server: name, calling: tr}
	testbed.Serve(t, messaging.NewRPCServer(tr, messaging.Target{Topic: topic, Server: name}, o, endpoints(r)...))
	return r
}

// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"strings"
	"testing"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/internal/testbed"
)

// TestCompressedNotifications: what Python compresses, Go understands. Parley compresses nothing.
func TestCompressedNotifications(t *testing.T) {
	eachMeeting(t, func(t *testing.T, m *meeting) {
		if m.lacks(t, testbed.NeedProxy) {
			return
		}
		p := placeNotePeers(t, m)
		p.goTransport, p.goLogs = bed.Open(t, p.url)
		p.goListener = p.listen(t, nil, goTopics...)
		proxy := peertest.RunAMQPProxy(t, p.broker.Addr())
		p.pythonNotifier = peertest.RunPythonNotifier(t, m.python, peertest.PythonNotifierOptions{
			URL: p.broker.URLAt(proxy.Addr(), p.vhost), Conf: map[string]map[string]any{"oslo_messaging_rabbit": {"kombu_compression": "gzip"}},
		})
		payload := strings.Repeat("Hello World! ", 100)
		eachFormat(t, func(t *testing.T, f format) {
			proxy.Reset()
			p.notify(t, peertest.Event{Driver: f.driver, EventType: "compressed." + f.name, Payload: payload})
			var got string
			if err := p.goListener.wait(t, "compressed."+f.name, 1)[0].Decode(&got); err != nil || got != payload {
				t.Errorf("got %.100q, %v", got, err)
			}
			// Otherwise nothing is proven.
			m, err := proxy.WaitFor(soon(t), func(m peertest.Method) bool { return m.Name == "basic.publish" && m.FromClient })
			if headers, _ := m.Properties["headers"].(map[string]any); err != nil || headers["compression"] != "application/x-gzip" {
				t.Errorf("published with %v, %v", m.Properties, err)
			}
		})
	})
}

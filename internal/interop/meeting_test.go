// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"maps"
	"strings"
	"testing"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/internal/testbed"
)

// The wires that Python and Parley have in common.
const (
	wireRabbit = "rabbit"
	wireQpid   = "qpid"
)

// meeting is a release of oslo.messaging and the wire on which Parley meets it.
type meeting struct {
	python peertest.Python
	wire   *testbed.Wire
}

// meetings returns those that are met: on RabbitMQ the newest release and Debian's, on Broker-J the
// last one that has the driver.
func meetings(t *testing.T) []*meeting {
	t.Helper()
	var all []*meeting
	for _, w := range bed.Wires(t) {
		releases := []peertest.Python{}
		switch w.Info.Name {
		case wireRabbit:
			releases = peertest.Pythons(t)
		case wireQpid:
			releases = append(releases, peertest.PythonAMQP1(t))
		}
		for _, python := range releases {
			all = append(all, &meeting{python, w})
		}
	}
	return all
}

// eachMeeting runs a test with each release of oslo.messaging on its wire, at the same time.
func eachMeeting(t *testing.T, test func(t *testing.T, m *meeting)) {
	t.Helper()
	for _, m := range meetings(t) {
		t.Run(m.name(), func(t *testing.T) {
			t.Parallel()
			test(t, m)
		})
	}
}

// name is that of the release, with the wire if it is not that of most.
func (m *meeting) name() string {
	if m.wire.Info.Name == wireRabbit {
		return m.python.Name
	}
	return m.python.Name + " on " + m.wire.Info.Name
}

// conf is how a Python peer is set there, and the caller's to add to.
func (m *meeting) conf() map[string]map[string]any {
	if m.wire.Info.Name == wireQpid {
		return maps.Clone(peertest.AMQP1Conf())
	}
	return make(map[string]map[string]any)
}

// pythonURL is a URL of ours as oslo.messaging has it.
func (m *meeting) pythonURL(url string) string {
	if rest, ok := strings.CutPrefix(url, wireQpid+":"); ok {
		return "amqp:" + rest
	}
	return url
}

// marksAgain reports whether a broker marks what a listener gave back. In AMQP 1.0 that is released,
// by Python as by us, which does not count as a delivery.
func (m *meeting) marksAgain() bool { return m.wire.Info.Name == wireRabbit }

// lacks reports whether the wire has not what a test needs, and logs that it is not proven.
func (m *meeting) lacks(t *testing.T, needs ...testbed.Need) bool {
	t.Helper()
	why := m.wire.Missing(needs...)
	if why != "" {
		t.Logf("NOT PROVEN on %s: it needs %s", m.wire.Info.Name, why)
	}
	return why != ""
}

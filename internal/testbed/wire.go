// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/plugin/driver"
)

// Wire is a driver that applications in different processes meet over, and what there is around
// it. The same tests run on every wire: what they expect follows from the driver's capabilities,
// and what they need besides has a name.
type Wire struct {
	// Info is what the driver says of itself.
	Info driver.Info
	// TopicsCross says that the servers of a topic hear its requests whatever their exchange
	// is, as upstream's rabbit has it. No capability tells.
	TopicsCross bool
	// Uneven says that the broker gives a message to whichever server of a topic is quick, so that
	// one may get none of twenty.
	Uneven bool
	// Unmarked says that a message which was given back comes again without a word of it.
	Unmarked bool
	// Regiven says that the broker may give to another server what one has accepted and begun, when
	// that one's connection is lost with its acceptance on the wire (docs/OPERATIONS.md,
	// docs/QPID.md).
	Regiven bool
	// First is the wire on which all of the library has been tried: what others add is their driver.
	First bool

	lacks map[Need]string // why, by what is not there
	place func(testing.TB) *Place
	login func(testing.TB, string) *Login
	start func(context.Context) // of what it needs besides the driver, or nil
}

// Need is what a test asks of a wire that is no matter of course. A capability is one too:
// Need(driver.CapExpiry).
type Need string

// The needs that are no capabilities.
const (
	// NeedAMQP is a peer that speaks AMQP itself, to write or read what no library would.
	NeedAMQP Need = "a raw AMQP peer"
	// NeedManagement is a broker whose operator can look at its queues and make virtual hosts
	// and users.
	NeedManagement Need = "a broker's management"
	// NeedProxy is a proxy between the driver and its broker, which cuts and delays.
	NeedProxy Need = "a proxy before the broker"
	// NeedRestart is a broker that is away, for a while or for good.
	NeedRestart Need = "a broker that is away"
	// NeedLogin is a broker that asks for a user, a password and a virtual host.
	NeedLogin Need = "a broker's login"
)

// Place is where the applications of one test meet.
type Place struct {
	// URL is that of every transport of the test.
	URL string
	// Broker and Vhost are those of a wire with NeedManagement.
	Broker *peertest.RabbitMQ
	Vhost  string
	// Directory is where nodes find each other that have no broker.
	Directory string
}

// wires is the table: a wire is said here and nowhere else.
func (b *Bed) wires() map[string]Wire {
	return map[string]Wire{
		"rabbit": {TopicsCross: true, Regiven: true, place: b.newVhost, login: b.loginRabbit},
		"zmq": {place: b.newDirectory, login: b.loginRedis, lacks: map[Need]string{
			NeedAMQP:       "it speaks ZMTP, and plugins/zmq has the tests of its own wire",
			NeedManagement: "there is no broker that could be asked",
			NeedProxy:      "there is no broker; plugins/zmq cuts the links between nodes",
			NeedRestart:    "there is no broker that could be away",
			NeedLogin:      "there is no broker to log in to",
		}},
		"qpid": {Uneven: true, Unmarked: true, Regiven: true, place: b.newAddresses, login: b.loginBrokerJ, start: b.startBrokerJ, lacks: map[Need]string{
			NeedAMQP:       "it speaks AMQP 1.0, and plugins/qpid has the tests of its own wire",
			NeedManagement: "Broker-J is started without its management interface",
			NeedProxy:      "plugins/qpid cuts its connections",
			NeedRestart:    "plugins/qpid ends and starts its broker",
			NeedLogin:      "Broker-J has users but no virtual hosts to log in to; plugins/qpid has the tests of its logins",
		}},
	}
}

func (b *Bed) newVhost(tb testing.TB) *Place {
	tb.Helper()
	broker := b.Broker(tb)
	vhost := broker.NewVhost(tb)
	return &Place{URL: broker.URL(vhost), Broker: broker, Vhost: vhost}
}

// newAddresses is a virtual host that the driver writes into its addresses; Broker-J has no more of
// it than the queues that are made of them.
func (b *Bed) newAddresses(tb testing.TB) *Place {
	tb.Helper()
	return &Place{URL: b.BrokerJ(tb).URL("test-" + strings.ToLower(rand.Text()))}
}

func (b *Bed) newDirectory(tb testing.TB) *Place {
	tb.Helper()
	dir, err := os.MkdirTemp(b.top, "mesh")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) }) // as all of the bed at its end
	return &Place{URL: "zmq://" + dir, Directory: dir}
}

// setUpWires builds the drivers of the wires and asks them what they are.
func (b *Bed) setUpWires(ctx context.Context) error {
	table := b.wires()
	names := append([]string{"rabbit"}, b.Also...)
	var starting sync.WaitGroup
	defer starting.Wait()
	for _, name := range names {
		if start := table[name].start; start != nil {
			starting.Go(func() { start(ctx) })
		}
	}
	for _, name := range names {
		w, ok := table[name]
		if !ok {
			return fmt.Errorf("there is no wire %q", name)
		}
		file := filepath.Join(b.Drivers, "parley-driver-"+name)
		if err := Build(ctx, file, "plugins/"+name); err != nil {
			return err
		}
		out, err := exec.CommandContext(ctx, file, "describe").Output()
		if err != nil {
			return fmt.Errorf("ask the driver %s what it is: %w", name, err)
		}
		if err := json.Unmarshal(out, &w.Info); err != nil {
			return fmt.Errorf("ask the driver %s what it is: %w", name, err)
		}
		w.First = len(b.ready) == 0
		b.ready = append(b.ready, &w)
	}
	return nil
}

// Wires returns those that have everything a test needs. That the others have not is logged as
// not proven, with the reason.
func (b *Bed) Wires(tb testing.TB, needs ...Need) []*Wire {
	tb.Helper()
	var able []*Wire
	for _, w := range b.ready {
		if why := w.Missing(needs...); why != "" {
			tb.Logf("NOT PROVEN on %s: it needs %s", w.Info.Name, why)
			continue
		}
		able = append(able, w)
	}
	return able
}

// EachWire runs a test on each wire that has what it needs.
func (b *Bed) EachWire(t *testing.T, test func(t *testing.T, w *Wire), needs ...Need) {
	t.Helper()
	for _, w := range b.Wires(t, needs...) {
		t.Run(w.Info.Name, func(t *testing.T) { test(t, w) })
	}
}

// Missing is what the wire has not of what is needed and why, or "".
func (w *Wire) Missing(needs ...Need) string {
	var missing []string
	for _, n := range needs {
		switch why, lacking := w.lacks[n]; {
		case lacking:
			missing = append(missing, string(n)+": "+why)
		case !n.around() && !w.Has(driver.Capability(n)):
			missing = append(missing, fmt.Sprintf("the capability %s", n))
		}
	}
	return strings.Join(missing, "; ")
}

// around tells a need from a capability.
func (n Need) around() bool {
	switch n {
	case NeedAMQP, NeedManagement, NeedProxy, NeedRestart, NeedLogin:
		return true
	default:
		return false
	}
}

// Has reports whether the driver declared the capability.
func (w *Wire) Has(c driver.Capability) bool { return w.Info.Has(c) }

// New returns a place of the test's own, which is gone after it.
func (w *Wire) New(tb testing.TB) *Place {
	tb.Helper()
	return w.place(tb)
}

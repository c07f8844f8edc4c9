// SPDX-License-Identifier: Apache-2.0

package notifyfaults

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/internal/testbed"
)

// options are what the notifications of a ledger need of the broker: queues that outlive it.
const options = "?amqp_durable_queues=true"

// run is a broker and the applications on it.
type run struct {
	t      *testing.T
	dir    string
	broker *peertest.RabbitMQ
	vhost  string
	proxy  *peertest.AMQPProxy // of those that are behind it; nil when there are none
	all    []*app              // that were ever started, in order
	count  map[string]int      // of the applications of a name
	faults []*fault
}

// newRun makes the directory of a run.
func newRun(t *testing.T, broker *peertest.RabbitMQ, vhost string) *run {
	t.Helper()
	dir, err := os.MkdirTemp(filepath.Dir(bed.Drivers), "run")
	if os.Getenv(keepVariable) != "" {
		dir, err = os.MkdirTemp("", "notifyfaults")
		t.Log("files in", dir)
	}
	testbed.Must(t, err)
	for _, sub := range []string{"run", "tmp"} {
		testbed.Must(t, os.Mkdir(filepath.Join(dir, sub), 0o700))
	}
	return &run{t: t, dir: dir, broker: broker, vhost: vhost, count: make(map[string]int)}
}

// url is that of the broker for one side or the other of the proxy.
func (r *run) url(proxied bool) string {
	addr := r.broker.Addr()
	if proxied {
		addr = r.proxy.Addr()
	}
	return r.broker.URLAt(addr, r.vhost) + options
}

// start starts an application and does not wait for it.
func (r *run) start(s settings, proxied bool) *app {
	r.t.Helper()
	r.count[s.Name]++
	id := fmt.Sprintf("%s-%d", s.Name, r.count[s.Name])
	s.URL, s.Drivers, s.Runtime = r.url(proxied), bed.Drivers, filepath.Join(r.dir, "run")
	s.Ledger, s.Log = filepath.Join(r.dir, id+".ledger"), filepath.Join(r.dir, id+".log")
	a := start(r.t, s, id, filepath.Join(r.dir, "tmp"))
	a.proxied = proxied
	r.all = append(r.all, a)
	return a
}

// await waits until all are ready.
func (r *run) await(apps ...*app) {
	r.t.Helper()
	for _, a := range apps {
		if err := a.Await(startTimeout); err != nil {
			r.t.Fatal(err)
		}
	}
}

// stopAll ends all that run: the notifiers first, that wait for what they have under way.
func (r *run) stopAll(limit time.Duration) {
	r.t.Helper()
	for _, role := range []string{roleNotifier, roleListener} {
		for _, a := range r.all {
			if a.Role == role && !a.HasExited() {
				if err := a.stop(limit); err != nil {
					r.t.Error(err)
				}
			}
		}
	}
}

// mustDrain waits until the broker has nothing left, those that are to come again included: for as
// long as there is less and less.
func (r *run) mustDrain() {
	r.t.Helper()
	for depths, before := r.depths(), ""; !isEmpty(depths); before = depths {
		if !testbed.Wait(drainTimeout, func() bool { depths = r.depths(); return depths != "" && depths != before }) {
			r.t.Errorf("the queues stay as they are for %v:\n%s", drainTimeout, depths)
			return
		}
	}
}

func isEmpty(depths string) bool {
	for line := range strings.Lines(depths) {
		if !strings.HasSuffix(strings.TrimSpace(line), "\t0") {
			return false
		}
	}
	return depths != ""
}

// depths are the queues with how many notifications each has, given out ones included; empty when
// it is not known.
func (r *run) depths() string {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	text, err := r.broker.Ctl(ctx, "list_queues", "-p", r.vhost, "name", "messages", "--no-table-headers")
	if err != nil {
		return ""
	}
	return text
}

// mustLeaveNothing looks for drivers and files, and for races in the logs.
func (r *run) mustLeaveNothing() {
	r.t.Helper()
	own := testbed.Bed{Drivers: bed.Drivers, Runtime: filepath.Join(r.dir, "run")}
	var left []string
	if !testbed.Wait(endTimeout, func() bool { left = own.LeftOf(r.dir); return len(left) == 0 }) {
		r.t.Errorf("left: %v", left)
	}
	for _, a := range r.all {
		text, err := os.ReadFile(a.Log)
		testbed.Must(r.t, err)
		if strings.Contains(string(text), "DATA RACE") || strings.Contains(a.Printed(), "DATA RACE") {
			r.t.Errorf("%s or its driver has a data race: %s", a.id, a.Printed())
		}
	}
	if r.t.Failed() {
		for _, a := range r.all {
			r.t.Logf("%s said %s\nand printed %s", a.id, a.said, a.Printed())
		}
	}
}

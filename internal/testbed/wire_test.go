// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"testing"

	"github.com/parleymq/parley/plugin/driver"
)

// TestMissing: what a wire has not is said with its reason, and every need that has a name is
// either there or has a reason.
func TestMissing(t *testing.T) {
	w := (&Bed{}).wires()["zmq"]
	w.Info = driver.Info{Name: "zmq", Capabilities: []driver.Capability{driver.CapRPC}}
	for _, tc := range []struct {
		needs []Need
		want  string
	}{
		{nil, ""},
		{[]Need{Need(driver.CapRPC)}, ""},
		{[]Need{Need(driver.CapExpiry)}, "the capability expiry"},
		{[]Need{NeedRestart, Need(driver.CapPools)}, "a broker that is away: there is no broker that could be away; the capability pools"},
	} {
		if got := w.Missing(tc.needs...); got != tc.want {
			t.Errorf("%v: got %q, want %q", tc.needs, got, tc.want)
		}
	}
	rabbit := (&Bed{}).wires()["rabbit"]
	qpid := (&Bed{}).wires()["qpid"]
	for _, n := range []Need{NeedAMQP, NeedManagement, NeedProxy, NeedRestart, NeedLogin} {
		if qpid.Missing(n) == "" {
			t.Errorf("%s: it is not said why qpid has it not", n)
		}
		if why := rabbit.Missing(n); why != "" || !n.around() || w.Missing(n) == "" {
			t.Errorf("%s: rabbit has not %q, zmq %q", n, why, w.Missing(n))
		}
	}
}

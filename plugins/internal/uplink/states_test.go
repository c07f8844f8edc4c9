// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"slices"
	"testing"

	"github.com/parleymq/parley/plugin/driver"
)

func TestStates(t *testing.T) {
	var got []string
	r := NewStates(func(s driver.State) { got = append(got, s.Phase.String()) })
	cause := driver.Errorf(driver.ReasonNotConnected, "refused")
	r.set("send", driver.State{Phase: driver.Connecting})
	r.set("send", driver.State{Phase: driver.Ready, Host: "h"})
	r.set("receive", driver.State{Phase: driver.Connecting})
	r.set("send", driver.State{Phase: driver.Blocked, Host: "h", Err: cause})
	r.set("receive", driver.State{Phase: driver.Connecting, Err: cause})
	r.set("receive", driver.State{Phase: driver.Connecting, Err: cause})
	r.set("receive", driver.State{Phase: driver.Ready, Host: "h"})
	r.set("send", driver.State{Phase: driver.Ready, Host: "h"})
	r.End()
	r.set("send", driver.State{Phase: driver.Connecting})
	want := []string{"connecting", "ready", "connecting", "connecting", "blocked", "ready"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

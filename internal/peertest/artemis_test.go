// SPDX-License-Identifier: Apache-2.0

package peertest

import (
	"os"
	"testing"
)

func TestArtemisLeavesNothing(t *testing.T) {
	a := RunArtemis(t, nil)
	sendAndReceive(t, "amqp://"+a.Addr(), nil)
	if err := a.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := a.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	sendAndReceive(t, "amqp://"+a.Addr(), nil)
	if len(marked(a.dir)) != 1 {
		t.Errorf("processes %v carry the mark: the test proves nothing", marked(a.dir))
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if pids := marked(a.dir); len(pids) != 0 {
		t.Errorf("processes %v are left after Close", pids)
	}
	if _, err := os.Stat(a.dir); !os.IsNotExist(err) {
		t.Errorf("directory %s is left after Close: %v", a.dir, err)
	}
}

// SPDX-License-Identifier: Apache-2.0

package peertest

import (
	"os"
	"strings"
	"testing"

	amqp "github.com/Azure/go-amqp"
)

func TestRabbitMQLeavesNothing(t *testing.T) {
	r := RunRabbitMQ(t, nil)
	pid := r.PID()

	vhost := r.NewVhost(t)
	out, err := r.Ctl(t.Context(), "list_vhosts")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out, vhost) {
		t.Errorf("list_vhosts printed %q, want the new vhost %s in it", out, vhost)
	}

	if err := r.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := r.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r.PID() == pid {
		t.Errorf("pid is %d as before the restart", pid)
	}
	if out, err := r.Ctl(t.Context(), "list_vhosts"); err != nil || !strings.Contains(out, vhost) {
		t.Errorf("after a restart list_vhosts printed %q, %v, want the vhost %s in it", out, err, vhost)
	}

	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if pids := append(marked(r.node.mark()), marked(r.node.epmdMark())...); len(pids) != 0 {
		t.Errorf("processes %v are left after Close", pids)
	}
	if _, err := os.Stat(r.node.Dir); !os.IsNotExist(err) {
		t.Errorf("directory %s is left after Close: %v", r.node.Dir, err)
	}
}

// TestRabbitMQAMQP1: a node with the plugin takes clients of AMQP 1.0.
func TestRabbitMQAMQP1(t *testing.T) {
	r := RunRabbitMQ(t, &RabbitMQOptions{AMQP1: true})
	login := &amqp.ConnOptions{SASLType: amqp.SASLTypePlain(rabbitUser, rabbitPassword)}
	sendAndReceive(t, "amqp://"+r.Addr(), login)
	login.HostName = "vhost:" + r.NewVhost(t)
	sendAndReceive(t, "amqp://"+r.Addr(), login)
}

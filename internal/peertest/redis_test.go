// SPDX-License-Identifier: Apache-2.0

package peertest

import (
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

func TestRedisLeavesNothing(t *testing.T) {
	r := RunRedis(t, nil)
	pid := r.PID()
	if err := r.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := r.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r.PID() == pid || r.PID() == 0 {
		t.Errorf("pid is %d, was %d before the restart", r.PID(), pid)
	}
	if answer := redisPing(t, r.Addr()); !strings.HasPrefix(answer, "+PONG") {
		t.Errorf("PING is answered with %q", answer)
	}
	if len(marked(r.dir)) != 1 {
		t.Errorf("processes %v carry the mark: the test proves nothing", marked(r.dir))
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if pids := marked(r.dir); len(pids) != 0 {
		t.Errorf("processes %v are left after Close", pids)
	}
	if _, err := os.Stat(r.dir); !os.IsNotExist(err) {
		t.Errorf("directory %s is left after Close: %v", r.dir, err)
	}
}

func redisPing(t *testing.T, addr string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer closeQuietly(conn)
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 64)
	n, err := conn.Read(answer)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer[:n])
}

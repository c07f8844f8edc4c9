// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"net"
	"strings"
	"testing"

	"github.com/parleymq/parley/plugin/driver"
)

// TestForeignPeers: what a peer that is no RabbitMQ says first is told to people, in however many
// pieces it comes, and what it says later changes nothing.
func TestForeignPeers(t *testing.T) {
	for _, tt := range []struct {
		name  string
		says  []string
		wants string
	}{
		{"nothing", nil, ""},
		{"a frame of 0-9-1", []string{"\x01\x00\x00\x00\x00\x00\x10\x00\x0a"}, ""},
		{"AMQP 1.0", []string{"AMQP\x00\x01\x00\x00"}, "h:1 speaks AMQP 1.0, and not 0-9-1; for another broker than RabbitMQ take qpid://"},
		{"AMQP 1.0 with a login, in pieces", []string{"AM", "QP\x03\x01\x00", "\x00", "more"}, "speaks AMQP 1.0"},
		{"another AMQP", []string{"AMQP\x01\x01\x00\x0a"}, "speaks another version of AMQP than 0-9-1: its header is \"AMQP\\x01\\x01\\x00\\n\""},
		{"a web server", []string{"HTTP/1.1 400"}, ""},
	} {
		ours, theirs := net.Pipe()
		go func() {
			for _, part := range tt.says {
				_, _ = io.WriteString(theirs, part)
			}
			_ = theirs.Close()
		}()
		c := &headerConn{Conn: ours}
		if all, err := io.ReadAll(c); err != nil || string(all) != strings.Join(tt.says, "") {
			t.Errorf("%s: read %q, %v", tt.name, all, err)
		}
		err := c.foreignError("h:1")
		if tt.wants == "" && err != nil || tt.wants != "" && (err == nil || err.Reason != driver.ReasonNotConnected || !strings.Contains(err.Error(), tt.wants)) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.wants)
		}
	}
}

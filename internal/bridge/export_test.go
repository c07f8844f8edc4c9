// SPDX-License-Identifier: Apache-2.0

package bridge

import "github.com/hashicorp/go-plugin"

// WithMajors makes the host speak other majors than this package does.
func (o HelloOptions) WithMajors(m ...int) HelloOptions {
	o.majors = m
	return o
}

// WithMajors makes the driver's side speak other majors than this package does.
func (c ServerConfig) WithMajors(m ...int) ServerConfig {
	c.majors = m
	return c
}

// PluginsOf is Plugins for other majors.
func PluginsOf(server *Server, m ...int) map[int]plugin.PluginSet { return plugins(server, m) }

// ListenWindowBytes is what a listener may have under way.
const ListenWindowBytes = listenWindowBytes

// SendWindowBytes is what a connection's small messages may have under way.
const SendWindowBytes = sendWindowBytes

// ChunkBytes is the size of a chunk.
const ChunkBytes = chunkBytes

// Peer is the process that a connection belongs to.
func (c *Conn) Peer() *Peer { return c.peer }

// Trouble is what keeps the driver from its broker, as it said.
func (c *Conn) Trouble() error {
	cause, _ := c.broker.trouble()
	if cause == nil {
		return nil
	}
	return cause
}

// Buffered is how many bytes a listener holds for Poll.
func (l *Listener) Buffered() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.bufferedBytes
}

// Ended is closed when a listener's stream has ended.
func (l *Listener) Ended() <-chan struct{} { return l.ended }

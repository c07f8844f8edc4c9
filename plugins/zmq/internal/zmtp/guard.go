// SPDX-License-Identifier: Apache-2.0

package zmtp

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"
)

// stage is where the peer's byte stream is.
type stage int

const (
	stageGreeting stage = iota
	stageReady
	stageFrames
)

// guard is the net.Conn that zmq4 reads from and writes to. Its Read hands out only what was
// checked, and its Write only fills the outbox. One goroutine reads, whoever holds the outbox's
// lock writes.
type guard struct {
	net.Conn // the socket, or TLS on it

	role string
	o    Options
	out  *outbox
	done <-chan struct{}
	ping func(context []byte) // answers a PING
	// window is how long the peer may be silent; zero for as long as it likes.
	window time.Duration

	// The rest belongs to the reading goroutine.
	stage    stage
	in       inbox
	meta     metadata
	minor    byte   // of the peer's version
	canned   []byte // bytes for zmq4 before any others
	pass     int    // bytes of this frame that zmq4 may still have
	more     bool   // this frame is not its message's last
	frames   int    // of this message
	bytes    int    // of this message's frames
	grant    grant
	deadline time.Time // of reading
	failed   error     // what ended reading

	draining atomic.Bool // the deadline was set for the last time
	greeted  bool        // our greeting is in the outbox
}

// Read implements net.Conn for zmq4.
func (g *guard) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if len(g.canned) > 0 {
			n := copy(p, g.canned)
			g.canned = g.canned[n:]
			return n, nil
		}
		if g.pass > 0 {
			n, err := g.readFrame(p)
			if err != nil {
				err = g.fail(err)
			}
			return n, err
		}
		if err := g.advance(); err != nil {
			return 0, g.fail(err)
		}
	}
}

// fail remembers why reading ended: zmq4 would wrap it into four sentences.
func (g *guard) fail(err error) error {
	g.failed = readFailure(err)
	return err
}

// Write implements net.Conn for zmq4. It never fails.
func (g *guard) Write(p []byte) (int, error) {
	g.out.pending = append(g.out.pending, p...)
	if !g.greeted && len(p) == greetingSize {
		// zmq4 says 3.0. What 3.1 adds for our socket types is PING, which we do speak.
		g.out.pending[len(g.out.pending)-greetingSize+greetingMinor] = 1
		g.greeted = true
	}
	return len(p), nil
}

// advance checks the next part of the stream.
func (g *guard) advance() error {
	switch g.stage {
	case stageGreeting:
		return g.greeting()
	case stageReady:
		return g.ready()
	default:
		return g.frame()
	}
}

// greeting lets the peer's greeting through, each byte of it judged as early as possible.
func (g *guard) greeting() error {
	for g.in.buffered() < greetingSize {
		if err := g.in.fill(g.readSocket); err != nil {
			return err
		}
		if err := checkGreeting(g.in.bytes()); err != nil {
			return err
		}
	}
	g.canned = append([]byte(nil), g.in.bytes()[:greetingSize]...)
	g.minor = 1
	if g.canned[greetingMinor-1] == 3 {
		g.minor = g.canned[greetingMinor]
	}
	g.in.skip(greetingSize)
	g.stage = stageReady
	return nil
}

// ready takes the peer's READY, and makes a clean one for zmq4.
func (g *guard) ready() error {
	h, err := g.header()
	if err != nil {
		return err
	}
	if !h.command() {
		return refusal("it sent a message before READY")
	}
	name, data, err := g.commandBody(h)
	if err != nil {
		return err
	}
	switch string(name) {
	case cmdReady:
	case cmdError:
		return errorCommand(data)
	default:
		return refusal("it sent the command %s before READY", quoted(name))
	}
	if g.meta, err = parseMetadata(data); err != nil {
		return err
	}
	if err := compatible(g.role, g.meta.socketType); err != nil {
		return err
	}
	g.endCommand(h)
	g.canned = readyFrame(g.meta)
	g.stage = stageFrames
	return nil
}

// frame takes commands until the head of a message's frame is there, and checks that.
func (g *guard) frame() error {
	h, err := g.header()
	if err != nil {
		return err
	}
	if h.command() {
		return g.command(h)
	}
	if g.frames++; g.frames > g.o.MaxFrames {
		return refusal("a message has more than %d frames", g.o.MaxFrames)
	}
	if h.size > uint64(g.o.MaxMessage-g.bytes) {
		return refusal("a message has more than %d bytes", g.o.MaxMessage)
	}
	g.bytes += int(h.size)
	if g.bytes > smallMessage && g.o.Budget != nil {
		// Who announces much and sends nothing gets nothing.
		if err := g.in.need(h.length+min(int(h.size), earnest), g.readSocket); err != nil {
			return err
		}
		if err := g.o.Budget.take(&g.grant, int(h.size), g.done); err != nil {
			return err
		}
	}
	g.pass, g.more = h.length+int(h.size), h.more()
	return nil
}

// header reads the head of the next frame and leaves it in the buffer.
func (g *guard) header() (header, error) {
	if err := g.in.need(2, g.readSocket); err != nil {
		if g.frames > 0 && errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return header{}, err
	}
	if err := g.in.need(headerLength(g.in.bytes()[0]), g.readSocket); err != nil {
		return header{}, err
	}
	return parseHeader(g.in.bytes())
}

// commandBody reads a command and leaves it in the buffer, until endCommand.
func (g *guard) commandBody(h header) (name, data []byte, err error) {
	size := h.length + int(h.size)
	if err := g.in.need(size, g.readSocket); err != nil {
		return nil, nil, err
	}
	return parseCommand(g.in.bytes()[h.length:size])
}

func (g *guard) endCommand(h header) { g.in.skip(h.length + int(h.size)) }

// command answers a PING. What it does not know is for later versions of the protocol. libzmq sends
// PINGs between the frames of a message too, which zmq4 would take for parts of it.
func (g *guard) command(h header) error {
	name, data, err := g.commandBody(h)
	if err != nil {
		return err
	}
	switch string(name) {
	case cmdPing:
		context, err := parsePing(data)
		if err != nil {
			return err
		}
		g.ping(context)
	case cmdError:
		return errorCommand(data)
	case cmdReady:
		return refusal("it sent a second READY")
	}
	g.endCommand(h)
	return nil
}

// readFrame hands out bytes of a frame that was checked. A big one goes past the buffer.
func (g *guard) readFrame(p []byte) (int, error) {
	p = p[:min(len(p), g.pass)]
	var n int
	switch {
	case g.in.buffered() == 0 && len(p) >= maxInbox/2:
		var err error
		if n, err = g.readSocket(p); err != nil {
			return n, unfinished(err)
		}
	default:
		if err := g.in.need(1, g.readSocket); err != nil {
			return 0, unfinished(err)
		}
		n = copy(p, g.in.bytes())
		g.in.skip(n)
	}
	if g.bytes > smallMessage {
		g.grant.got.Add(int64(n))
	}
	if g.pass -= n; g.pass == 0 && !g.more {
		g.endMessage()
	}
	return n, nil
}

func (g *guard) endMessage() {
	if g.bytes > smallMessage {
		g.giveBack()
	}
	g.frames, g.bytes = 0, 0
}

// giveBack returns what the message took of the budget. Any goroutine may call it.
func (g *guard) giveBack() {
	if g.o.Budget != nil {
		g.o.Budget.give(&g.grant)
	}
}

func unfinished(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// readSocket reads at least one byte. In the handshake it writes what zmq4 wrote before, since the
// flusher does not run yet.
func (g *guard) readSocket(p []byte) (int, error) {
	if g.stage != stageFrames {
		// A peer that went away may have said why, so only reading fails.
		_ = g.out.flushTo(g.Conn)
	}
	for {
		g.watch()
		n, err := g.Conn.Read(p)
		if n > 0 {
			return n, nil
		}
		if err == nil {
			continue
		}
		if g.window == 0 || !isTimeout(err) || g.draining.Load() {
			return 0, err
		}
		// A peer that takes what we send is alive: its PONG waits behind that.
		if time.Since(g.out.progress()) > g.window {
			return 0, ErrSilent
		}
	}
}

// watch sets the deadline that a silent peer meets, not before each read but when a part of it is
// over.
func (g *guard) watch() {
	if g.window == 0 || g.draining.Load() {
		return
	}
	now := time.Now()
	if g.deadline.Sub(now) >= g.window {
		return
	}
	g.deadline = now.Add(g.window + g.window/8)
	_ = g.SetReadDeadline(g.deadline) // fails only when the socket is closed, which Read says
}

// drain lets the reader have what the peer sent before it went away, for a moment.
func (g *guard) drain(d time.Duration) {
	g.draining.Store(true)
	_ = g.SetReadDeadline(time.Now().Add(d)) // as above
}

// SPDX-License-Identifier: Apache-2.0

package peertest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"
)

// Method is one AMQP method that went through a proxy, with the message that
// followed it, if any.
type Method struct {
	Conn       int  // 1 for the first connection, in order of their coming
	FromClient bool // else from the broker
	Channel    uint16
	Name       string         // such as "basic.publish"
	Args       map[string]any // by the specification's names, in snake case
	Properties map[string]any // of the message; nil when the method carries none
	Body       []byte
}

// AMQPProxy stands between clients and a broker on a loopback port. It records
// what goes through and can disturb it.
type AMQPProxy struct {
	target   string
	listener net.Listener
	group    sync.WaitGroup
	stop     context.CancelFunc
	ctx      context.Context // ends with Close; wakes everything that waits

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at each change below
	methods []Method
	faults  []error
	conns   map[int]*proxyConn
	last    int
	paused  bool
	silent  bool // what clients send is kept back
	refuse  bool
	delay   time.Duration
	closed  bool

	confirmsHeld bool
	confirmDelay time.Duration
}

// proxyConn is one client's connection and the broker's that belongs to it.
type proxyConn struct {
	id             int
	client, broker net.Conn
}

// StartAMQPProxy listens on a free loopback port and forwards to target, a
// broker's host:port. The caller closes it.
func StartAMQPProxy(target string) (*AMQPProxy, error) {
	var config net.ListenConfig
	listener, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start AMQP proxy to %s: %w", target, err)
	}
	ctx, stop := context.WithCancel(context.Background())
	p := &AMQPProxy{
		target:   target,
		listener: listener,
		stop:     stop,
		ctx:      ctx,
		changed:  make(chan struct{}),
		conns:    make(map[int]*proxyConn),
	}
	p.group.Go(p.accept)
	return p, nil
}

// RunAMQPProxy is StartAMQPProxy for one test.
func RunAMQPProxy(tb testing.TB, target string) *AMQPProxy {
	tb.Helper()
	p, err := StartAMQPProxy(target)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := p.Close(); err != nil {
			tb.Error(err)
		}
	})
	return p
}

// Addr is the proxy's own host:port.
func (p *AMQPProxy) Addr() string { return p.listener.Addr().String() }

// Methods returns what was recorded since the start or the last Reset.
func (p *AMQPProxy) Methods() []Method {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.methods)
}

// Reset forgets what was recorded.
func (p *AMQPProxy) Reset() {
	p.update(func() { p.methods = nil })
}

// WaitFor returns the first recorded method that match accepts, waiting for it
// if need be.
func (p *AMQPProxy) WaitFor(ctx context.Context, match func(Method) bool) (Method, error) {
	seen := 0
	for {
		p.mu.Lock()
		methods, changed := p.methods, p.changed
		p.mu.Unlock()
		if seen > len(methods) {
			seen = 0 // Reset was called
		}
		if i := slices.IndexFunc(methods[seen:], match); i >= 0 {
			return methods[seen+i], nil
		}
		seen = len(methods)
		select {
		case <-changed:
		case <-ctx.Done():
			return Method{}, fmt.Errorf("wait for a method at the AMQP proxy, %d others seen: %w", seen, context.Cause(ctx))
		}
	}
}

// Conns is how many connections are open.
func (p *AMQPProxy) Conns() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns)
}

// CutAll resets all open connections and returns how many there were. New ones
// are still taken.
func (p *AMQPProxy) CutAll() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.cut()
	}
	return len(p.conns)
}

// Refuse makes the proxy close each new connection at once, or take them again.
func (p *AMQPProxy) Refuse(refuse bool) {
	p.update(func() { p.refuse = refuse })
}

// Pause keeps everything that arrives back, as a network that lost its way
// does. Connections stay open.
func (p *AMQPProxy) Pause() {
	p.update(func() { p.paused = true })
}

// PauseClients keeps back what clients send. What the broker sends arrives.
func (p *AMQPProxy) PauseClients() {
	p.update(func() { p.silent = true })
}

// Resume forwards what was kept back, and what comes next.
func (p *AMQPProxy) Resume() {
	p.update(func() { p.paused, p.silent = false, false })
}

// Delay lets each frame arrive d later, in both directions.
func (p *AMQPProxy) Delay(d time.Duration) {
	p.update(func() { p.delay = d })
}

// Close cuts all connections and waits until nothing of the proxy runs. Its
// error tells of frames that could not be decoded.
func (p *AMQPProxy) Close() error {
	p.update(func() { p.closed = true })
	p.stop()
	_ = p.listener.Close() // a second Close finds it closed
	p.CutAll()
	p.group.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return errors.Join(p.faults...)
}

// update changes the proxy's state and wakes everyone who waits on it.
func (p *AMQPProxy) update(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	close(p.changed)
	p.changed = make(chan struct{})
}

// accept takes connections until the listener is closed.
func (p *AMQPProxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.group.Go(func() { p.serve(client) })
	}
}

// serve forwards one connection until either side ends it.
func (p *AMQPProxy) serve(client net.Conn) {
	defer closeQuietly(client)
	p.mu.Lock()
	refuse := p.refuse
	p.mu.Unlock()
	if refuse {
		return
	}
	var dialer net.Dialer
	broker, err := dialer.DialContext(p.ctx, "tcp", p.target)
	if err != nil {
		return // the client sees its connection closed, as it should
	}
	defer closeQuietly(broker)

	c := &proxyConn{client: client, broker: broker}
	p.update(func() {
		p.last++
		c.id = p.last
		p.conns[c.id] = c
		if p.closed {
			c.cut()
		}
	})
	defer p.update(func() { delete(p.conns, c.id) })

	var pumps sync.WaitGroup
	pumps.Go(func() { p.pump(c, true) })
	pumps.Go(func() { p.pump(c, false) })
	pumps.Wait()
}

// cut resets both sides: a reset instead of a normal end.
func (c *proxyConn) cut() {
	for _, side := range []net.Conn{c.client, c.broker} {
		if tcp, ok := side.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = side.Close()
	}
}

// framesHeld is how many frames of one direction are kept back at most. Beyond
// it the sender meets a full connection, as on a real network.
const framesHeld = 4096

// heldFrame is a frame on its way.
type heldFrame struct {
	bytes   []byte
	arrived time.Time
	channel uint16
	partial bool // more of its message is to come
	confirm bool // of the broker, for a message that was published
	last    bool // of its channel
}

// pump forwards one direction of a connection, frame by frame. When it ends it
// ends the other direction too.
func (p *AMQPProxy) pump(c *proxyConn, fromClient bool) {
	from, to := c.broker, c.client
	if fromClient {
		from, to = c.client, c.broker
	}
	// Reading goes on while frames are kept back, so that they are recorded when
	// they were sent.
	held := make(chan heldFrame, framesHeld)
	ctx, cancel := context.WithCancel(p.ctx)
	var reader sync.WaitGroup
	reader.Go(func() { p.read(ctx, c.id, fromClient, from, held) })
	p.forward(to, held, fromClient)
	_ = from.Close()
	_ = to.Close()
	cancel()
	reader.Wait()
}

// read records frames and hands them on, until the connection or ctx ends.
func (p *AMQPProxy) read(ctx context.Context, conn int, fromClient bool, from io.Reader, held chan<- heldFrame) {
	defer close(held)
	hand := func(f heldFrame) bool {
		select {
		case held <- f:
			return true
		case <-ctx.Done():
			return false
		}
	}
	if fromClient {
		// A client opens with eight bytes that are no frame.
		greeting := make([]byte, 8)
		if _, err := io.ReadFull(from, greeting); err != nil || !hand(heldFrame{bytes: greeting, arrived: time.Now()}) {
			return
		}
	}
	d := direction{proxy: p, conn: conn, fromClient: fromClient, open: make(map[uint16]*partial)}
	for {
		frame, err := readFrame(from)
		if err != nil {
			return
		}
		// Recorded first, so that who sees the effect finds the cause recorded.
		d.record(frame)
		if !hand(d.classify(frame)) {
			return
		}
	}
}

// forward writes frames when it is their time, until there are no more or the
// other side is gone.
func (p *AMQPProxy) forward(to io.Writer, held <-chan heldFrame, fromClient bool) {
	late := lateConfirms{open: make(map[uint16]bool)}
	for {
		due, changed, err := p.release(to, &late)
		if err != nil {
			return
		}
		select {
		case frame, ok := <-held:
			if !ok || !p.hold(frame.arrived, fromClient) || late.write(to, frame, p.keepsConfirms()) != nil {
				return
			}
		case <-due:
		case <-changed:
		}
	}
}

// hold waits as long as a frame is to be kept back. It is false when the proxy
// closes.
func (p *AMQPProxy) hold(arrived time.Time, fromClient bool) bool {
	for {
		p.mu.Lock()
		paused, delay, changed := p.paused || p.silent && fromClient, p.delay, p.changed
		p.mu.Unlock()
		wait := delay - time.Since(arrived)
		if p.ctx.Err() != nil {
			return false
		}
		var due <-chan time.Time // nil while paused: only a change helps
		if !paused {
			if wait <= 0 {
				return true
			}
			due = time.After(wait)
		}
		select {
		case <-due:
		case <-changed:
		case <-p.ctx.Done():
			return false
		}
	}
}

// direction decodes the frames that go one way on one connection.
type direction struct {
	proxy      *AMQPProxy
	conn       int
	fromClient bool
	open       map[uint16]*partial // by channel
}

// partial is a method whose message has not come whole.
type partial struct {
	method Method
	header bool
	size   uint64
}

// record decodes one frame and adds what became complete to the record.
func (d *direction) record(frame []byte) {
	kind, channel := frame[0], binary.BigEndian.Uint16(frame[1:])
	payload := frame[7 : len(frame)-1]
	switch kind {
	case frameMethod:
		name, args, err := decodeMethod(payload)
		if err != nil {
			d.fault(err)
			return
		}
		// What a client proves itself with does not belong into a record.
		delete(args, "response")
		m := Method{Conn: d.conn, FromClient: d.fromClient, Channel: channel, Name: name, Args: args}
		switch name {
		case "basic.publish", "basic.deliver", "basic.return", "basic.get-ok":
			d.open[channel] = &partial{method: m}
		default:
			d.add(m)
		}
	case frameHeader:
		part := d.open[channel]
		if part == nil {
			d.fault(errors.New("a message header without a method"))
			return
		}
		size, properties, err := decodeHeader(payload)
		if err != nil {
			d.fault(err)
			return
		}
		part.size, part.method.Properties, part.header = size, properties, true
		d.finish(channel, part)
	case frameBody:
		part := d.open[channel]
		if part == nil || !part.header {
			d.fault(errors.New("a message body without a header"))
			return
		}
		part.method.Body = append(part.method.Body, payload...)
		d.finish(channel, part)
	case frameHeartbeat:
	default:
		d.fault(fmt.Errorf("no such frame type %d", kind))
	}
}

// finish adds a method whose message is whole.
func (d *direction) finish(channel uint16, part *partial) {
	if uint64(len(part.method.Body)) < part.size {
		return
	}
	delete(d.open, channel)
	d.add(part.method)
}

func (d *direction) add(m Method) {
	d.proxy.update(func() { d.proxy.methods = append(d.proxy.methods, m) })
}

func (d *direction) fault(err error) {
	err = fmt.Errorf("AMQP proxy, connection %d, from client %t: %w", d.conn, d.fromClient, err)
	d.proxy.update(func() { d.proxy.faults = append(d.proxy.faults, err) })
}

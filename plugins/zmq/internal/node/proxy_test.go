// SPDX-License-Identifier: Apache-2.0

package node

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/parleymq/parley/plugins/zmq/internal/wire"
)

// proxy stands between a node and those who dial it. It knows where a message of ZMTP ends, and
// lets a judge decide what becomes of each.
type proxy struct {
	ln     net.Listener
	target string
	wg     sync.WaitGroup

	mu    sync.Mutex
	judge func(*passing) // guarded by mu, which is held when it is called
	conns map[net.Conn]struct{}
	ended bool
	cuts  int
	count int // messages of envelope 2 that came by
}

// passing is one message on its way, or a command, which has no packet.
type passing struct {
	dialler bool // it comes from who dialled
	packet  *wire.Packet
	raw     []byte // of the message
	// What is sent instead of it, and whether the connection ends then.
	out [][]byte
	cut bool
}

func (p *passing) drop()   { p.out = nil }
func (p *passing) repeat() { p.out = append(p.out, p.raw) }

// newProxy starts one in front of address, "host:port".
func newProxy(tb testing.TB, address string) *proxy {
	tb.Helper()
	ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &proxy{ln: ln, target: address, conns: make(map[net.Conn]struct{})}
	p.wg.Go(p.accept)
	tb.Cleanup(p.close)
	return p
}

func (p *proxy) endpoint() string { return "tcp://" + p.ln.Addr().String() }

func (p *proxy) close() {
	_ = p.ln.Close()
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	p.cutAll()
	p.wg.Wait()
}

// rule replaces the judge.
func (p *proxy) rule(judge func(*passing)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.judge = judge
}

// cutAll breaks all connections, with a reset.
func (p *proxy) cutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		p.cut(c)
	}
}

func (p *proxy) cut(c net.Conn) {
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
	delete(p.conns, c)
	p.cuts++
}

func (p *proxy) accept() {
	for {
		in, err := p.ln.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = in.Close()
			continue
		}
		p.mu.Lock()
		if p.ended {
			_, _ = in.Close(), out.Close()
		}
		p.conns[in], p.conns[out] = struct{}{}, struct{}{}
		p.mu.Unlock()
		p.wg.Go(func() { p.pump(in, out, true) })
		p.wg.Go(func() { p.pump(out, in, false) })
	}
}

// pump passes on what comes from src until either side ends.
func (p *proxy) pump(src, dst net.Conn, dialler bool) {
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, c := range []net.Conn{src, dst} {
			_ = c.Close()
			delete(p.conns, c)
		}
	}()
	if _, err := io.CopyN(dst, src, 64); err != nil { // the greeting
		return
	}
	for {
		raw, frames, err := readMessage(src)
		if err != nil {
			return
		}
		pass := &passing{dialler: dialler, raw: raw, out: [][]byte{raw}}
		if frames != nil {
			pass.packet, _ = wire.Decode(frames)
		}
		p.mu.Lock()
		if pass.packet != nil {
			p.count++
		}
		if p.judge != nil {
			p.judge(pass)
		}
		p.mu.Unlock()
		for _, b := range pass.out {
			if _, err := dst.Write(b); err != nil {
				return
			}
		}
		if pass.cut {
			p.mu.Lock()
			p.cut(src)
			_ = dst.Close() // in order: what was passed on arrives
			p.mu.Unlock()
			return
		}
	}
}

// readMessage reads the frames of one message, or a command, of which frames is nil.
func readMessage(src io.Reader) (raw []byte, frames [][]byte, err error) {
	var b bytes.Buffer
	in := io.TeeReader(src, &b)
	for {
		var head [9]byte
		if _, err := io.ReadFull(in, head[:2]); err != nil {
			return nil, nil, err
		}
		size := uint64(head[1])
		if head[0]&2 != 0 {
			if _, err := io.ReadFull(in, head[2:]); err != nil {
				return nil, nil, err
			}
			size = binary.BigEndian.Uint64(head[1:])
		}
		frame := make([]byte, size)
		if _, err := io.ReadFull(in, frame); err != nil {
			return nil, nil, err
		}
		if head[0]&4 != 0 {
			return b.Bytes(), nil, nil
		}
		if frames = append(frames, frame); head[0]&1 == 0 {
			return b.Bytes(), frames, nil
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"encoding/binary"
	"strconv"
	"testing"
	"time"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/zmq/internal/registry"
	"github.com/parleymq/parley/plugins/zmq/internal/wire"
)

// script turns bytes into what a foreign peer sends.
type script struct{ data []byte }

func (s *script) byte() byte {
	if len(s.data) == 0 {
		return 0
	}
	b := s.data[0]
	s.data = s.data[1:]
	return b
}

// seq is mostly a small number, which the node may have used.
func (s *script) seq() uint64 {
	switch b := s.byte(); {
	case b < 250:
		return uint64(b % 32)
	default:
		var all [8]byte
		for i := range all {
			all[i] = s.byte()
		}
		return binary.LittleEndian.Uint64(all[:])
	}
}

func (s *script) ranges() []wire.Range {
	var all []wire.Range
	for range s.byte() % 4 {
		r := wire.Range{From: s.seq(), To: s.seq()}
		if r.From > r.To {
			r.From, r.To = r.To, r.From
		}
		all = append(all, r)
	}
	return all
}

func (s *script) target() registry.Target {
	names := []string{"", "t", "u", "r"}
	pick := func() string { return names[int(s.byte())%len(names)] }
	return registry.Target{
		Kind: driver.SourceKind(s.byte() % 5), Exchange: "x", Topic: pick(), Server: pick(), Scoped: s.byte()%2 == 0,
		Reply: pick(), Priority: "info", Pool: pick(), AtLeastOnce: s.byte()%2 == 0,
	}
}

func (s *script) packet() wire.Packet {
	p := wire.Packet{Type: wire.Type(s.byte()%11 + 1), Floor: s.seq(), Number: s.seq(), Load: uint32(s.byte())}
	switch {
	case p.Type <= wire.Heartbeat:
		target := s.target()
		p.Seq, p.Attempt, p.Redelivered, p.Pool = max(s.seq(), 1), uint32(s.byte()), s.byte()%2 == 0, target.Pool
		p.Message = driver.Message{
			Kind: driver.Kind(p.Type), UniqueID: strconv.FormatUint(p.Seq, 10), ReplyTo: target.Reply, Priority: "info",
			Target:   driver.Target{Exchange: "x", Topic: target.Topic, Server: target.Server, Fanout: s.byte()%3 == 0, Scoped: target.Scoped},
			TimeLeft: time.Duration(s.byte()%3) * time.Millisecond,
		}
		p.Message.Kind = map[wire.Type]driver.Kind{
			wire.Call: driver.Call, wire.Cast: driver.Cast, wire.Notify: driver.Notification, wire.Reply: driver.Reply, wire.Heartbeat: driver.Heartbeat,
		}[p.Type]
	case p.Type == wire.Settle:
		p.Acked, p.Done = s.ranges(), s.ranges()
		for range s.byte() % 4 {
			p.Nacks = append(p.Nacks, wire.Nack{Seq: s.seq(), Reason: wire.NackReason(s.byte() % 12), RetryAfter: time.Duration(s.byte()) * time.Millisecond})
		}
	case p.Type == wire.Hello:
		p.Sync = s.byte()%2 == 0
		p.Record = &registry.Record{Node: strangerID(int(s.byte() % 2)), Instance: string('a' + s.byte()%2), Version: s.seq()}
		for range s.byte() % 4 {
			p.Record.Targets = append(p.Record.Targets, s.target())
		}
	case p.Type == wire.Recall:
		p.Target = s.target()
	}
	return p
}

// FuzzNode: whatever a foreign peer sends and the application does meanwhile, the books are right.
func FuzzNode(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("\x07hello, and what follows it in some order that nobody has thought of"))
	for seed := range 8 {
		data := make([]byte, 400)
		for i := range data {
			data[i] = byte((i + seed) * (i + 7*seed + 3) / 3)
		}
		f.Add(data)
	}
	w := newWorld(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		w := &world{TB: t, memory: newMemory(), log: w.log}
		n := w.open(func(o *Options) { o.QueueMessages, o.Window, o.HoldTime = 8, 8, 20*time.Millisecond; hasty(o) })
		l := w.listen(n, server("t", "s"))
		s := &script{data: data}
		// The packets are handed over as if they had been read: no wire is in the way.
		link := w.dial(n, strangerID(0)).join("a", serves("u"), serves("t"))
		at := n
		for i := 0; len(s.data) > 0 && i < 200; i++ {
			switch s.byte() % 4 {
			case 0, 1:
				at.mu.Lock()
				if p := at.peers[link.id]; p != nil && len(p.links) > 0 {
					packet := s.packet()
					if packet.Type == wire.Goodbye {
						packet.Type = wire.Welcome // the link is to stay
					}
					at.handle(p.links[0], &packet)
				}
				at.mu.Unlock()
			case 2:
				m := cast("u", strconv.Itoa(i))
				m.FailFast, m.Target.Fanout = s.byte()%2 == 0, s.byte()%5 == 0
				if s.byte()%5 == 0 {
					m.Target.Topic = "t"
				}
				n.SendAsync(t.Context(), []*driver.Message{m}, func(int, error) {})
			default:
				now := time.Now().Add(time.Duration(s.byte()) * time.Millisecond)
				n.mu.Lock()
				n.sweep(now)
				ready := l.ready.len()
				n.mu.Unlock()
				if ready > 0 {
					ds, _ := l.take(int(s.byte()%4) + 1)
					for _, d := range ds {
						w.done(l, d, driver.Result(s.byte()%4))
					}
				}
			}
			w.check(n)
		}
		// A close in order would wait for all that is under way.
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_ = n.Close(ctx)
	})
}

// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"github.com/parleymq/parley/internal/spool"
	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/zmq/internal/wire"
)

// spooler keeps notifications on disk that nobody listens to, and sends them when somebody does.
// The disk is the business of one goroutine; the rest is guarded by Node.mu.
type spooler struct {
	wake   chan struct{} // of capacity one
	ready  bool          // the directory is ours
	put    queue[*parcel]
	done   []uint64
	back   []uint64
	flying int // entries that were taken and are under way
}

const (
	// spoolRetry is how often it is tried to get a directory that another process has, as the one
	// that is being replaced by this one.
	spoolRetry = 500 * time.Millisecond
	// spoolBatch bounds what is taken off the disk at a time.
	spoolBatch = 256
	// spoolPut bounds writing one notification.
	spoolPut = 10 * time.Second
)

// spools reports whether a notification that nobody listens to goes to the disk.
func (n *Node) spools() bool { return n.spool != nil && n.spool.ready }

// toDisk gives a notification to the spooler.
func (n *Node) toDisk(pc *parcel) {
	pc.storing = true
	n.spool.put.push(pc)
	signal(n.spool.wake)
}

// spooling owns the spool.
func (n *Node) spooling(ctx context.Context) {
	s := n.openSpool(ctx)
	if s == nil {
		return
	}
	defer s.Close() //nolint:errcheck // what it acknowledged is written
	n.mu.Lock()
	n.spool.ready = true
	n.mu.Unlock()
	tick := time.NewTicker(spoolRetry)
	defer tick.Stop()
	for {
		n.store(ctx, s)
		n.unspool(s)
		select {
		case <-n.spool.wake:
		case <-tick.C: // what came back is tried again
		case <-ctx.Done():
			n.settleSpool(s)
			return
		}
	}
}

// openSpool waits until no other process has the directory.
func (n *Node) openSpool(ctx context.Context) *spool.Spool {
	told := ""
	for {
		s, err := spool.Open(*n.o.Spool)
		if err == nil {
			return s
		}
		if err.Error() != told {
			told = err.Error()
			n.log.Warn("notifications that nobody listens to cannot be stored yet", "err", told)
		}
		if !sleep(ctx, spoolRetry) {
			return nil
		}
	}
}

// store writes what nobody listens to, and settles what was sent.
func (n *Node) store(ctx context.Context, s *spool.Spool) {
	for {
		n.settleSpool(s)
		n.mu.Lock()
		if n.spool.put.len() == 0 {
			n.mu.Unlock()
			return
		}
		pc := n.spool.put.pop()
		n.mu.Unlock()
		put, cancel := context.WithTimeout(ctx, spoolPut)
		err := s.Put(put, spoolKey(pc.to), encodeParcel(pc))
		cancel()
		n.mu.Lock()
		n.tell(pc, err)
		n.drop(pc)
		n.mu.Unlock()
	}
}

func (n *Node) settleSpool(s *spool.Spool) {
	n.mu.Lock()
	done, back := n.spool.done, n.spool.back
	n.spool.done, n.spool.back = nil, nil
	n.mu.Unlock()
	if err := s.Done(done...); err != nil {
		n.log.Warn("stored notifications that were sent may be sent again", "err", err.Error())
	}
	s.Back(back...)
}

// unspool sends what is stored and somebody listens to.
func (n *Node) unspool(s *spool.Spool) {
	for _, text := range s.Keys() {
		k, ok := parseSpoolKey(text)
		if !ok {
			continue
		}
		n.mu.Lock()
		wanted := n.phase == ready && len(n.routes.pools[k]) > 0
		room := spoolBatch - n.spool.flying
		n.mu.Unlock()
		if !wanted || room <= 0 {
			continue
		}
		entries, err := s.Take(text, room)
		if err != nil {
			n.log.Warn("stored notifications cannot be read", "err", err.Error())
			continue
		}
		n.mu.Lock()
		for _, e := range entries {
			n.launch(e)
		}
		n.mu.Unlock()
	}
}

// launch sends one stored notification.
func (n *Node) launch(e spool.Entry) {
	packet, err := decodeParcel(e.Data)
	if err != nil {
		n.log.Warn("a stored notification is dropped: it cannot be read", "err", err.Error())
		n.spool.done = append(n.spool.done, e.ID)
		return
	}
	n.spool.flying++
	now := time.Now()
	pc := n.newParcel(&packet.Message, now, func(err error) {
		n.spool.flying--
		if err == nil {
			n.spool.done = append(n.spool.done, e.ID)
		} else {
			n.spool.back = append(n.spool.back, e.ID)
		}
		signal(n.spool.wake)
	})
	pc.redelivered = packet.Redelivered
	n.notify(pc, now)
}

// spoolKey is a topic of notifications as the spool has it.
func spoolKey(k key) string { return k.exchange + "\x00" + k.topic + "\x00" + k.priority }

func parseSpoolKey(text string) (key, bool) {
	parts := strings.Split(text, "\x00")
	if len(parts) != 3 {
		return key{}, false
	}
	return key{kind: driver.SourceNotifications, exchange: parts[0], topic: parts[1], priority: parts[2]}, true
}

// encodeParcel is a notification as it is stored: the frames of its packet, each behind its length.
func encodeParcel(pc *parcel) []byte {
	packet := pc.packet(time.Now(), 0)
	packet.Seq = 1 // a packet has one; it gets another when it is sent
	packet.Message.TimeLeft = 0
	var data []byte
	for _, frame := range packet.Append(nil) {
		data = binary.AppendUvarint(data, uint64(len(frame)))
		data = append(data, frame...)
	}
	return data
}

var errSpooled = errors.New("the stored frames do not fit together")

func decodeParcel(data []byte) (*wire.Packet, error) {
	var frames [][]byte
	for len(data) > 0 {
		size, used := binary.Uvarint(data)
		if used <= 0 || size > uint64(len(data)-used) {
			return nil, errSpooled
		}
		data = data[used:]
		frames = append(frames, data[:size:size])
		data = data[size:]
	}
	packet, err := wire.Decode(frames)
	if err != nil {
		return nil, err
	}
	if packet.Type != wire.Notify {
		return nil, errSpooled
	}
	return packet, nil
}

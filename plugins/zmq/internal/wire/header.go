// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/parleymq/parley/plugin/driver"
)

// The keys of a header. The numbers are on the wire and never change.
const (
	keyType = iota
	keySeq
	keyFloor
	keyAttempt
	keyRedelivered
	keyPool
	keyExchange
	keyTopic
	keyServer
	keyFanout
	keyScoped
	keyPriority
	keyFormat
	keyReplyTo
	keyCallID
	keyUniqueID
	keyMonitor
	keyTimeLeft
	keyDeadline
	keyHeaders
	keyAcked
	keyDone
	keyNacks
	keyLoad
	keyNumber
	keySync
	keyTarget
	keyCount
)

// appendHeader appends the map. Neither a message nor another packet has more than 23 fields, so
// its head is one byte, which is filled in at the end.
func (p *Packet) appendHeader(buf []byte) []byte {
	w := writer{buf: append(buf, 0), start: len(buf)}
	w.uint(keyType, uint64(p.Type))
	if p.Type.message() {
		w.uint(keySeq, p.Seq)
	}
	w.uint(keyFloor, p.Floor)
	if p.Type.message() {
		p.writeMessage(&w)
	} else {
		p.writeOther(&w)
	}
	return w.end()
}

func (p *Packet) writeMessage(w *writer) {
	m := &p.Message
	w.uint(keyAttempt, uint64(p.Attempt))
	w.bool(keyRedelivered, p.Redelivered)
	w.text(keyPool, p.Pool)
	w.text(keyExchange, m.Target.Exchange)
	w.text(keyTopic, m.Target.Topic)
	w.text(keyServer, m.Target.Server)
	w.bool(keyFanout, m.Target.Fanout)
	w.bool(keyScoped, m.Target.Scoped)
	w.text(keyPriority, m.Priority)
	w.uint(keyFormat, uint64(m.Format))
	w.text(keyReplyTo, m.ReplyTo)
	w.text(keyCallID, m.CallID)
	w.text(keyUniqueID, m.UniqueID)
	w.uint(keyMonitor, uint64(max(0, toMillis(m.MonitorTimeout))))
	w.int(keyTimeLeft, toMillis(m.TimeLeft))
	w.uint(keyDeadline, uint64(m.DeadlineMillis()))
	w.headers(m.Headers)
}

func (p *Packet) writeOther(w *writer) {
	w.ranges(keyAcked, p.Acked)
	w.ranges(keyDone, p.Done)
	w.nacks(p.Nacks)
	w.uint(keyLoad, uint64(p.Load))
	w.uint(keyNumber, p.Number)
	w.bool(keySync, p.Sync)
	w.target(p.Target)
}

// headerRoom is the most bytes that the header takes.
func (p *Packet) headerRoom() int {
	n := 1 + keyCount*fieldSize
	if !p.Type.message() {
		t := &p.Target
		return n + 2*headSize*(len(p.Acked)+len(p.Done)) + 4*headSize*len(p.Nacks) + targetKeys*fieldSize +
			len(t.Exchange) + len(t.Topic) + len(t.Server) + len(t.Reply) + len(t.Priority) + len(t.Pool)
	}
	m := &p.Message
	n += len(p.Pool) + len(m.Target.Exchange) + len(m.Target.Topic) + len(m.Target.Server) +
		len(m.Priority) + len(m.ReplyTo) + len(m.CallID) + len(m.UniqueID)
	for k, v := range m.Headers {
		n += 2*headSize + len(k) + len(v)
	}
	return n
}

// field reads the value of a key, or returns false when it is none of the packet's type.
func (p *Packet) field(r *reader, key uint64) bool {
	switch {
	case key == keyType:
		p.Type = Type(r.uintTo(math.MaxUint8))
		p.Message.Kind = p.Type.kind()
		if p.Type > Goodbye {
			r.fail("a type that is not known")
		}
		return true
	case p.Type == 0:
		r.fail("no type")
		return true
	case key == keyFloor:
		p.Floor = r.uint()
		return true
	case p.Type.message():
		return p.messageField(r, key)
	default:
		return p.otherField(r, key)
	}
}

func (p *Packet) messageField(r *reader, key uint64) bool {
	if text := p.text(key); text != nil {
		*text = r.text()
		return true
	}
	m := &p.Message
	switch key {
	case keySeq:
		p.Seq = r.uint()
	case keyAttempt:
		p.Attempt = uint32(r.uintTo(math.MaxUint32))
	case keyRedelivered:
		p.Redelivered = r.bool()
	case keyFanout:
		m.Target.Fanout = r.bool()
	case keyScoped:
		m.Target.Scoped = r.bool()
	case keyFormat:
		m.Format = driver.NotificationFormat(r.uintTo(math.MaxUint8))
	case keyMonitor:
		m.MonitorTimeout = r.millis()
	case keyTimeLeft:
		m.TimeLeft = fromMillis(r.int())
	case keyDeadline:
		m.Deadline = driver.DeadlineTime(int64(r.uintTo(math.MaxInt64)))
	case keyHeaders:
		m.Headers = r.headers()
	default:
		return false
	}
	return true
}

// text returns where the text of a key goes, nil for a key that is no text.
func (p *Packet) text(key uint64) *string {
	m := &p.Message
	switch key {
	case keyPool:
		return &p.Pool
	case keyExchange:
		return &m.Target.Exchange
	case keyTopic:
		return &m.Target.Topic
	case keyServer:
		return &m.Target.Server
	case keyPriority:
		return &m.Priority
	case keyReplyTo:
		return &m.ReplyTo
	case keyCallID:
		return &m.CallID
	case keyUniqueID:
		return &m.UniqueID
	default:
		return nil
	}
}

func (p *Packet) otherField(r *reader, key uint64) bool {
	switch key {
	case keyAcked:
		p.Acked = r.ranges()
	case keyDone:
		p.Done = r.ranges()
	case keyNacks:
		p.Nacks = r.nacks()
	case keyLoad:
		p.Load = uint32(r.uintTo(math.MaxUint32))
	case keyNumber:
		p.Number = r.uint()
	case keySync:
		p.Sync = r.bool()
	case keyTarget:
		p.Target = r.target()
	default:
		return false
	}
	return true
}

// toMillis rounds away from zero, so that what is left or over stays so.
func toMillis(d time.Duration) int64 {
	ms := int64(d / time.Millisecond)
	switch rest := d % time.Millisecond; {
	case rest > 0:
		return ms + 1
	case rest < 0:
		return ms - 1
	default:
		return ms
	}
}

// fromMillis stops at the ends of time.Duration.
func fromMillis(ms int64) time.Duration {
	const most = int64(math.MaxInt64 / time.Millisecond)
	return time.Duration(max(-most, min(ms, most))) * time.Millisecond
}

// headers writes the map in the order of its encoded keys: shorter first.
func (w *writer) headers(headers map[string]string) {
	if len(headers) == 0 {
		return
	}
	var room [driver.MaxHeaders]string
	names := room[:0]
	for name := range headers {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	w.key(keyHeaders)
	w.buf = appendHead(w.buf, majorMap, uint64(len(names)))
	for _, name := range names {
		w.buf = appendText(appendText(w.buf, name), headers[name])
	}
}

// headers reads the map, and leaves all of it out when driver.CheckHeaders would refuse it.
func (r *reader) headers() map[string]string {
	start := *r
	n := r.list(majorMap, "a map of headers", 2)
	if r.problem != "" || n == 0 {
		return nil
	}
	if n > driver.MaxHeaders {
		return r.without(start)
	}
	headers, size := make(map[string]string, n), 0
	for range n {
		name, ok := r.rawText(MaxHeader)
		value, valid := r.rawText(MaxHeader)
		if r.problem != "" {
			return nil
		}
		if size += len(name) + len(value); !ok || !valid || size > driver.MaxHeaderBytes {
			return r.without(start)
		}
		headers[name] = value
	}
	if len(headers) != n {
		r.fail("a header twice")
		return nil
	}
	return headers
}

// without goes back to start and skips the value there.
func (r *reader) without(start reader) map[string]string {
	r.off = start.off
	r.skip(1)
	return nil
}

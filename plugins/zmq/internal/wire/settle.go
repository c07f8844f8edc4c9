// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"math"
	"time"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/zmq/internal/registry"
)

// nackValues is how many values a nack has; a later version may add some behind them.
const nackValues = 3

func (w *writer) ranges(key uint64, ranges []Range) {
	if len(ranges) == 0 {
		return
	}
	w.key(key)
	w.buf = appendHead(w.buf, majorArray, 2*uint64(len(ranges)))
	for _, r := range ranges {
		w.buf = appendHead(w.buf, majorUint, r.From)
		w.buf = appendHead(w.buf, majorUint, r.To-r.From)
	}
}

func (r *reader) ranges() []Range {
	n := r.list(majorArray, "an array of ranges", 1)
	switch {
	case r.problem != "" || n == 0:
		return nil
	case n%2 != 0:
		r.fail("half a range")
		return nil
	case n/2 > MaxRanges:
		r.fail("too many ranges")
		return nil
	}
	ranges := make([]Range, n/2)
	for i := range ranges {
		from := r.uint()
		more := r.uintTo(math.MaxUint64 - from)
		if r.problem != "" {
			return nil
		}
		ranges[i] = Range{From: from, To: from + more}
	}
	return ranges
}

func (w *writer) nacks(nacks []Nack) {
	if len(nacks) == 0 {
		return
	}
	w.key(keyNacks)
	w.buf = appendHead(w.buf, majorArray, uint64(len(nacks)))
	for _, n := range nacks {
		w.buf = appendHead(w.buf, majorArray, nackValues)
		w.buf = appendHead(w.buf, majorUint, n.Seq)
		w.buf = appendHead(w.buf, majorUint, uint64(n.Reason))
		w.buf = appendHead(w.buf, majorUint, uint64(max(0, toMillis(n.RetryAfter))))
	}
}

func (r *reader) nacks() []Nack {
	n := r.list(majorArray, "an array of nacks", 1+nackValues)
	switch {
	case r.problem != "" || n == 0:
		return nil
	case n > MaxRanges:
		r.fail("too many nacks")
		return nil
	}
	nacks := make([]Nack, n)
	for i := range nacks {
		nacks[i] = r.nack()
		if r.problem != "" {
			return nil
		}
	}
	return nacks
}

func (r *reader) nack() (n Nack) {
	values := r.list(majorArray, "a nack", 1)
	if r.problem == "" && values < nackValues {
		r.fail("a nack of too few values")
	}
	n.Seq = r.uint()
	n.Reason = NackReason(r.uintTo(math.MaxUint8))
	n.RetryAfter = r.millis()
	for i := nackValues; i < values && r.problem == ""; i++ {
		r.skip(nackValues)
	}
	return n
}

func (r *reader) millis() time.Duration { return fromMillis(int64(r.uintTo(math.MaxInt64))) }

// The keys of a target.
const (
	targetKind = iota
	targetExchange
	targetTopic
	targetServer
	targetScoped
	targetReply
	targetPriority
	targetPool
	targetAtLeastOnce
	targetKeys
)

func (w *writer) target(t registry.Target) {
	if t == (registry.Target{}) {
		return
	}
	w.key(keyTarget)
	inner := writer{buf: append(w.buf, 0), start: len(w.buf)}
	inner.uint(targetKind, uint64(t.Kind))
	inner.text(targetExchange, t.Exchange)
	inner.text(targetTopic, t.Topic)
	inner.text(targetServer, t.Server)
	inner.bool(targetScoped, t.Scoped)
	inner.text(targetReply, t.Reply)
	inner.text(targetPriority, t.Priority)
	inner.text(targetPool, t.Pool)
	inner.bool(targetAtLeastOnce, t.AtLeastOnce)
	w.buf = inner.end()
}

func (r *reader) target() (t registry.Target) {
	r.fields(1, func(key uint64) bool {
		switch key {
		case targetKind:
			t.Kind = driver.SourceKind(r.uintTo(math.MaxUint8))
		case targetExchange:
			t.Exchange = r.text()
		case targetTopic:
			t.Topic = r.text()
		case targetServer:
			t.Server = r.text()
		case targetScoped:
			t.Scoped = r.bool()
		case targetReply:
			t.Reply = r.text()
		case targetPriority:
			t.Priority = r.text()
		case targetPool:
			t.Pool = r.text()
		case targetAtLeastOnce:
			t.AtLeastOnce = r.bool()
		default:
			return false
		}
		return true
	})
	return t
}

// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
)

// A gossip payload is binary: a byte for the format, one for the kind of message, the namespace,
// and then lists. Numbers are varints, lists and texts begin with their length. A digest is the
// range of ids it covers and a list of opinions; news are opinions, wanted ids, and records, each
// with the state and incarnation of its node.
const (
	gossipFormat = 1
	kindDigest   = 1
	kindNews     = 2
)

// Bounds of what is said and taken.
const (
	maxGossip   = 4 << 20
	maxOpinion  = keyLength + 1 + 2*binary.MaxVarintLen64
	maxOpinions = 16_384
	maxWanted   = 4096
	maxRecords  = 16_384
	maxInc      = 1 << 48
	keyLength   = nodeIDLength / 2
	// stateKnown is set beside a state when the sender has the record.
	stateKnown = 0x80
)

// nodeKey is a node's id in binary.
type nodeKey [keyLength]byte

var lastKey = nodeKey(bytes.Repeat([]byte{0xff}, keyLength))

func (k nodeKey) String() string { return hex.EncodeToString(k[:]) }

// keyOf is for ids that were checked.
func keyOf(id string) (k nodeKey) {
	_, _ = hex.Decode(k[:], []byte(id[:min(len(id), nodeIDLength)]))
	return k
}

// opinion is what the sender knows of a node, without its record.
type opinion struct {
	key     nodeKey
	state   nodeState
	known   bool // the sender has the record, of the version
	version uint64
	inc     uint64
}

// wanted reports whether the sender has a record that n should have.
func (o opinion) wanted(n *neighbour) bool {
	return o.known && o.state < dead && !n.buried() && (o.version > n.version || n.rec == nil && o.version == n.version)
}

// lacks reports whether the sender should have the record of n.
func (o opinion) lacks(n *neighbour) bool { return n.version > o.version || !o.known }

// older reports whether the sender should hear what is thought of n.
func (o opinion) older(n *neighbour) bool {
	return (&neighbour{state: o.state, inc: o.inc}).beaten(n.state, n.inc)
}

// digestMessage is what a node knows of the ids from From to To, both included.
type digestMessage struct {
	From, To nodeKey
	Opinions []opinion
}

func (d *digestMessage) covers(key nodeKey) bool {
	return bytes.Compare(d.From[:], key[:]) <= 0 && bytes.Compare(key[:], d.To[:]) <= 0
}

func (d *digestMessage) encode(namespace string) []byte {
	b := gossipHead(kindDigest, namespace)
	b = append(b, d.From[:]...)
	b = append(b, d.To[:]...)
	return appendOpinions(b, d.Opinions)
}

// newsMessage is what the other side lacks, and what it is asked for.
type newsMessage struct {
	Opinions []opinion
	Wanted   []nodeKey
	Records  []toldRecord
	heard    []heardRecord // Records, decoded and checked
}

// toldRecord is a record on its way, with what the sender thinks of its node.
type toldRecord struct {
	state nodeState
	inc   uint64
	data  []byte
}

type heardRecord struct {
	rec   *Record
	size  int
	state nodeState
	inc   uint64
}

func (m *newsMessage) empty() bool { return len(m.Opinions)+len(m.Wanted)+len(m.Records) == 0 }

func (m *newsMessage) encode(namespace string) []byte {
	b := appendOpinions(gossipHead(kindNews, namespace), m.Opinions)
	b = binary.AppendUvarint(b, uint64(len(m.Wanted)))
	for _, key := range m.Wanted {
		b = append(b, key[:]...)
	}
	b = binary.AppendUvarint(b, uint64(len(m.Records)))
	for _, r := range m.Records {
		b = append(b, byte(r.state))
		b = binary.AppendUvarint(b, r.inc)
		b = binary.AppendUvarint(b, uint64(len(r.data)))
		b = append(b, r.data...)
	}
	return b
}

func gossipHead(kind byte, namespace string) []byte {
	b := []byte{gossipFormat, kind}
	b = binary.AppendUvarint(b, uint64(len(namespace)))
	return append(b, namespace...)
}

func appendOpinions(b []byte, opinions []opinion) []byte {
	b = binary.AppendUvarint(b, uint64(len(opinions)))
	for _, o := range opinions {
		state := byte(o.state)
		if o.known {
			state |= stateKnown
		}
		b = append(b, o.key[:]...)
		b = append(b, state)
		b = binary.AppendUvarint(b, o.version)
		b = binary.AppendUvarint(b, o.inc)
	}
	return b
}

// encodeRecord checks a record and returns it in JSON.
func encodeRecord(r *Record) ([]byte, error) {
	if err := checkRecord(r); err != nil {
		return nil, err
	}
	data, err := json.Marshal(r)
	if err == nil && len(data) > maxRecordBytes {
		return nil, fmt.Errorf("it has %d bytes, more than %d", len(data), maxRecordBytes)
	}
	return data, err
}

// gossip is one of the two.
type gossip struct {
	digest *digestMessage
	news   *newsMessage
}

// decodeGossip reads what a peer sent. What is read is never more than the payload can hold.
func decodeGossip(payload []byte, namespace string) (gossip, error) {
	if len(payload) > maxGossip {
		return gossip{}, fmt.Errorf("it has %d bytes, more than %d", len(payload), maxGossip)
	}
	r := &gossipReader{rest: payload}
	format, kind := r.byte(), r.byte()
	if r.err == nil && format != gossipFormat {
		return gossip{}, fmt.Errorf("it has format %d, and %d is understood", format, gossipFormat)
	}
	if other := r.text(maxText); r.err == nil && string(other) != namespace {
		return gossip{}, fmt.Errorf("it is of namespace %.100q, and this node is of %q", other, namespace)
	}
	var m gossip
	switch kind {
	case kindDigest:
		m.digest = &digestMessage{From: r.key(), To: r.key(), Opinions: r.opinions()}
	case kindNews:
		m.news = &newsMessage{Opinions: r.opinions(), Wanted: r.wanted(), heard: r.records()}
	default:
		r.fail("message %d is not known", kind)
	}
	if len(r.rest) > 0 {
		r.fail("%d bytes are left", len(r.rest))
	}
	return m, r.err
}

// gossipReader reads until the first mistake.
type gossipReader struct {
	rest []byte
	err  error
}

var errShort = errors.New("it ends too early")

func (r *gossipReader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
	r.rest = nil
}

func (r *gossipReader) take(n uint64) []byte {
	if n > uint64(len(r.rest)) {
		r.fail("%w", errShort)
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *gossipReader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *gossipReader) key() (k nodeKey) {
	copy(k[:], r.take(keyLength))
	return k
}

func (r *gossipReader) number() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.fail("%w", errShort)
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// count reads the length of a list of which each element has at least size bytes.
func (r *gossipReader) count(limit, size int) int {
	n := r.number()
	if n > uint64(min(limit, len(r.rest)/size)) {
		r.fail("a list of %d is too long", n)
		return 0
	}
	return int(n)
}

func (r *gossipReader) text(limit int) []byte { return r.take(uint64(r.count(limit, 1))) }

func (r *gossipReader) incarnation() uint64 {
	inc := r.number()
	if inc > maxInc {
		r.fail("incarnation %d is too high", inc)
	}
	return inc
}

func (r *gossipReader) state() (state nodeState, known bool) {
	b := r.byte()
	state = nodeState(b &^ stateKnown)
	if state > left {
		r.fail("state %d is not known", state)
	}
	return state, b&stateKnown != 0
}

func (r *gossipReader) opinions() []opinion {
	n := r.count(maxOpinions, keyLength+3)
	opinions := make([]opinion, 0, n)
	for range n {
		o := opinion{key: r.key()}
		o.state, o.known = r.state()
		o.version, o.inc = r.number(), r.incarnation()
		opinions = append(opinions, o)
	}
	return opinions
}

func (r *gossipReader) wanted() []nodeKey {
	n := r.count(maxWanted, keyLength)
	keys := make([]nodeKey, 0, n)
	for range n {
		keys = append(keys, r.key())
	}
	return keys
}

// records leaves out those that this release does not understand: the others are as good.
func (r *gossipReader) records() []heardRecord {
	var records []heardRecord
	for range r.count(maxRecords, 3) {
		var h heardRecord
		h.state, _ = r.state()
		h.inc = r.incarnation()
		data := r.text(maxRecordBytes)
		if r.err != nil {
			return nil
		}
		rec := new(Record)
		if json.Unmarshal(data, rec) != nil {
			continue
		}
		trimRecord(rec)
		if checkRecord(rec) == nil {
			h.rec, h.size = rec, len(data)
			records = append(records, h)
		}
	}
	return records
}

// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Digest implements Gossiper. The node sends it to a few peers about once a second; more rarely
// than three times in Options.TTL makes others suspect this node. It says which nodes we know,
// how new our records are and what we think of them. What is too long for one digest is said in
// several.
func (s *seeds) Digest() []byte {
	s.lock.Lock()
	defer s.lock.Unlock()
	now := s.now()
	s.sweep(now)
	s.raise(now)
	s.reveal()
	return s.digest()
}

// raise lets the others know from time to time that we are still there.
func (s *seeds) raise(now time.Time) {
	if own := s.nodes[s.self]; own != nil && !s.closed && now.Sub(s.raised) >= s.limits.Expire/3 {
		own.inc++
		s.raised = now
	}
}

func (s *seeds) digest() []byte {
	d := digestMessage{To: lastKey}
	room := s.limits.Digest
	for _, id := range slices.Sorted(maps.Keys(s.nodes)) {
		key := keyOf(id)
		if bytes.Compare(key[:], s.cursor[:]) < 0 {
			continue
		}
		if room -= maxOpinion; room < 0 {
			// The rest is the next digest's, and this one says so.
			d.From, d.To = s.cursor, d.Opinions[len(d.Opinions)-1].key
			s.cursor = key
			return d.encode(s.namespace)
		}
		d.Opinions = append(d.Opinions, s.opinion(id))
	}
	d.From, s.cursor = s.cursor, nodeKey{}
	return d.encode(s.namespace)
}

func (s *seeds) opinion(id string) opinion {
	n := s.nodes[id]
	return opinion{key: keyOf(id), state: n.state, known: n.rec != nil, version: n.version, inc: n.inc}
}

// Receive implements Gossiper. A digest is answered by what the peer lacks and a list of what we
// lack, and that by the records; nothing is answered for ever. It returns an error for what
// cannot be understood, and for a peer of another namespace; nothing of it is taken in then.
func (s *seeds) Receive(peer string, payload []byte) ([]byte, error) {
	m, err := decodeGossip(payload, s.namespace)
	if err != nil {
		return nil, fmt.Errorf("gossip of node %.40q: %w", peer, err)
	}
	s.lock.Lock()
	defer s.lock.Unlock()
	now := s.now()
	s.sweep(now)
	var answer newsMessage
	if m.digest != nil {
		answer = s.compare(m.digest, now)
	} else {
		answer = s.take(m.news, now)
	}
	s.reveal()
	if answer.empty() {
		return nil, nil
	}
	return answer.encode(s.namespace), nil
}

// compare takes in what a peer thinks, and says what it lacks and what we lack.
func (s *seeds) compare(d *digestMessage, now time.Time) newsMessage {
	var news newsMessage
	room := s.limits.Answer
	said := make(map[string]bool, len(d.Opinions))
	for _, o := range d.Opinions {
		id := o.key.String()
		said[id] = true
		s.hearsay(id, o.state, o.inc, now)
		n := s.nodes[id]
		switch {
		case n == nil:
			if o.known && o.state == alive && len(news.Wanted) < maxWanted {
				news.Wanted = append(news.Wanted, o.key)
			}
			continue
		case o.wanted(n) && id != s.self:
			if len(news.Wanted) < maxWanted {
				news.Wanted = append(news.Wanted, o.key)
			}
		case n.rec != nil && !n.buried() && o.lacks(n):
			s.tell(&news, id, &room)
			continue
		}
		if o.older(n) {
			news.Opinions = append(news.Opinions, s.opinion(id))
		}
	}
	s.introduce(&news, d, said, &room)
	return news
}

// introduce adds the records of nodes that a peer does not know at all.
func (s *seeds) introduce(news *newsMessage, d *digestMessage, said map[string]bool, room *int) {
	for id, n := range s.nodes {
		if key := keyOf(id); n.rec != nil && n.state == alive && !said[id] && d.covers(key) {
			s.tell(news, id, room)
		}
	}
}

// take takes in news, and answers with the records that were asked for.
func (s *seeds) take(news *newsMessage, now time.Time) newsMessage {
	for _, o := range news.Opinions {
		s.hearsay(o.key.String(), o.state, o.inc, now)
	}
	for _, r := range news.heard {
		s.learn(r, now)
	}
	var answer newsMessage
	room := s.limits.Answer
	for _, key := range news.Wanted {
		if n := s.nodes[key.String()]; n != nil && n.rec != nil && !n.buried() {
			s.tell(&answer, key.String(), &room)
		}
	}
	return answer
}

// tell adds a record while there is room. What does not fit is asked for again.
func (s *seeds) tell(news *newsMessage, id string, room *int) {
	n := s.nodes[id]
	if len(news.Records) > 0 && n.size > *room {
		return
	}
	data, err := encodeRecord(n.rec)
	if err != nil {
		return // it was checked when it came
	}
	*room -= len(data)
	news.Records = append(news.Records, toldRecord{state: n.state, inc: n.inc, data: data})
}

// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/parleymq/parley/plugin/driver"
)

const (
	// redisGet is how many records are asked for in one round trip, so that an answer is bounded.
	redisGet = 64
	// maxRedisNodes bounds what is read.
	maxRedisNodes = 10_000
	// changesTTL keeps the mark of the last change in a namespace that nobody uses any more.
	changesTTL = 24 * time.Hour
)

// redisStore keeps records in Redis, below parley:{namespace}:
//
//	node:<id>  the record in JSON, which expires
//	nodes      a sorted set of the ids by the time at which each expires, by Redis's clock
//	changes    the mark of the last change: what a node compares each second
//	hints      the channel that a changed node's id is published to
//
// One transaction makes each change, so that who sees a new mark sees the change.
type redisStore struct {
	board *board
	log   *onceLogger
	ttl   time.Duration
	keys  redisKeys
	conns *redisConns
	// oslo is the layout of 8.x beside the own one, nil without.
	oslo *osloLayout

	// All below is the keeper's goroutine's.

	rec       *Record
	text      []byte
	tried     bool // it may have been written
	announced bool // it was written once
	renewed   time.Time
	offset    time.Duration // of Redis's clock to ours
	lastRead  time.Time
	mark      string // the last change that was read
	known     map[string]*redisEntry
	client    *redis.Client // that all above was read of
	// graceUntil is when records that went with Redis's data are taken for withdrawn.
	graceUntil time.Time
}

// redisEntry is a record that was read.
type redisEntry struct {
	rec  *Record
	text string
	seen time.Time
}

// redisKeys are the names in Redis.
type redisKeys struct{ nodes, changes, hints, node string }

func keysFor(namespace string) redisKeys {
	prefix := "parley:{" + url.QueryEscape(namespace) + "}:"
	return redisKeys{nodes: prefix + "nodes", changes: prefix + "changes", hints: prefix + "hints", node: prefix + "node:"}
}

// newRedis returns the discovery by Redis, alone or with sentinels.
func newRedis(o Options) (Registry, error) {
	conns := newRedisConns(o)
	log := o.Logger.With("redis", conns.String())
	s := &redisStore{
		board: newBoard(), log: newOnceLogger(log), ttl: o.TTL, keys: keysFor(o.Namespace),
		conns: conns, known: map[string]*redisEntry{},
	}
	switch o.Layout {
	case LayoutParley:
	case LayoutOslo8:
		s.oslo = newOsloLayout(o.TTL)
	default:
		conns.close()
		return nil, driver.Errorf(driver.ReasonConfig, "there is no layout %q of Redis", o.Layout).
			WithHint("known: %s, %s", LayoutParley, LayoutOslo8)
	}
	_ = s.board.setHealth(driver.Errorf(driver.ReasonNotConnected, "Redis at %s has not answered yet", conns))
	conns.subscribe(s.keys.hints)
	return startKeeper(s.board, s, o, log), nil
}

func (s *redisStore) hints() <-chan struct{} { return s.conns.out }
func (s *redisStore) close()                 { s.conns.close() }

// announce implements store.
func (s *redisStore) announce(ctx context.Context, rec *Record) error {
	text, err := json.Marshal(rec)
	if err == nil && len(text) > maxRecordBytes {
		err = fmt.Errorf("it has %d bytes, more than %d", len(text), maxRecordBytes)
	}
	if err != nil {
		return driver.Errorf(driver.ReasonConfig, "announce this node: its record does not fit: %w", err).
			WithHint("listen to fewer targets in one process")
	}
	s.rec, s.text = rec, text
	if _, err := s.compare(ctx); err != nil {
		return err
	}
	return s.write(ctx, true)
}

// write puts the own record into Redis, as a change or to renew it.
func (s *redisStore) write(ctx context.Context, change bool) error {
	s.tried = true
	began := time.Now()
	redisNow := began.Add(s.offset)
	_, err := s.client.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.Set(ctx, s.keys.node+s.rec.Node, s.text, s.ttl)
		p.ZAdd(ctx, s.keys.nodes, redis.Z{Score: score(redisNow.Add(s.ttl)), Member: s.rec.Node})
		p.ZRemRangeByScore(ctx, s.keys.nodes, "-inf", strconv.FormatInt(redisNow.Add(-s.ttl).UnixMilli(), 10))
		p.PExpire(ctx, s.keys.nodes, changesTTL)
		if change {
			s.markChange(ctx, p)
		} else {
			p.PExpire(ctx, s.keys.changes, changesTTL)
		}
		return nil
	})
	if err == nil && s.oslo != nil {
		err = s.oslo.write(ctx, s.client, s.rec)
	}
	if err != nil {
		return s.conns.failed("announce this node at", err)
	}
	s.announced, s.renewed = true, began
	return nil
}

func score(t time.Time) float64 { return float64(t.UnixMilli()) }

// markChange tells everybody that something changed: who misses the hint compares the mark.
func (s *redisStore) markChange(ctx context.Context, p redis.Pipeliner) {
	p.Set(ctx, s.keys.changes, rand.Text(), changesTTL)
	p.Publish(ctx, s.keys.hints, s.rec.Node)
}

// look implements store.
func (s *redisStore) look(ctx context.Context) error {
	mark, err := s.compare(ctx)
	if err != nil {
		return err
	}
	if s.isNews(mark) || s.oslo != nil {
		return s.read(ctx, mark)
	}
	return nil
}

// tick implements store.
func (s *redisStore) tick(ctx context.Context) error {
	s.conns.preferFirst(ctx)
	mark, err := s.compare(ctx)
	if err != nil {
		return err
	}
	if s.announced && time.Since(s.renewed) >= s.ttl/renewals {
		if err := s.write(ctx, false); err != nil {
			return err
		}
	}
	if s.isNews(mark) || time.Since(s.lastRead) >= s.ttl/renewals {
		return s.read(ctx, mark)
	}
	return nil
}

// isNews tells whether something changed since the last read.
func (s *redisStore) isNews(mark string) bool { return mark == "" || mark != s.mark }

// compare asks Redis for the mark of the last change and for the own record, in one round trip,
// and announces the latter again when it is lost or is an older one.
func (s *redisStore) compare(ctx context.Context) (mark string, err error) {
	client, err := s.conns.get(ctx)
	if err != nil {
		return "", err
	}
	s.changeClient(client)
	var now *redis.TimeCmd
	var changes, own *redis.StringCmd
	_, err = client.Pipelined(ctx, func(p redis.Pipeliner) error {
		now = p.Time(ctx)
		changes = p.GetRange(ctx, s.keys.changes, 0, maxText)
		if s.announced {
			own = p.GetRange(ctx, s.keys.node+s.rec.Node, 0, maxRecordBytes)
		}
		return nil
	})
	if err != nil {
		return "", s.conns.failed("ask", err)
	}
	s.offset = time.Until(now.Val())
	return changes.Val(), s.repair(ctx, changes.Val(), own)
}

// repair writes the own record again when Redis has none, or an older one of a write that was
// slow to arrive.
func (s *redisStore) repair(ctx context.Context, mark string, own *redis.StringCmd) error {
	if mark == "" && s.mark != "" || own != nil && own.Val() == "" {
		s.lose()
	}
	if own == nil || own.Val() == string(s.text) {
		return nil
	}
	return s.write(ctx, true)
}

// changeClient forgets what was read of another server.
func (s *redisStore) changeClient(client *redis.Client) {
	if s.client == client {
		return
	}
	if s.client != nil {
		s.lose()
	}
	s.client, s.mark = client, ""
}

// lose keeps the view when Redis lost its data, or this node could not reach it for long: links
// that work matter more, and the others announce themselves again within a second.
func (s *redisStore) lose() {
	s.mark = ""
	s.graceUntil = time.Now().Add(s.ttl)
	s.log.log.Warn("what was announced is not in Redis any more: it is announced again, and the others have time to do so", "time", s.ttl)
}

// read reads all records. Its view is at least as new as mark.
func (s *redisStore) read(ctx context.Context, mark string) error {
	ids, err := s.client.ZRange(ctx, s.keys.nodes, 0, maxRedisNodes-1).Result()
	if err != nil {
		return s.conns.failed("list the nodes of", err)
	}
	present := make(map[string]bool, len(ids))
	for chunk := range slices.Chunk(ids, redisGet) {
		if err := s.readSome(ctx, chunk, present); err != nil {
			return err
		}
	}
	var legacy map[string]*Record
	if s.oslo != nil {
		if legacy, err = s.oslo.read(ctx, s.client); err != nil {
			return s.conns.failed("read the layout of 8.x at", err)
		}
	}
	s.settle(present)
	s.publish(legacy)
	s.mark, s.lastRead = mark, time.Now()
	return nil
}

// readSome reads the records of ids and notes those that are there.
func (s *redisStore) readSome(ctx context.Context, ids []string, present map[string]bool) error {
	texts := make([]*redis.StringCmd, len(ids))
	_, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, id := range ids {
			// Of what is too large only as much is read as shows that it is.
			texts[i] = p.GetRange(ctx, s.keys.node+id, 0, maxRecordBytes)
		}
		return nil
	})
	if err != nil {
		return s.conns.failed("read the nodes of", err)
	}
	for i, id := range ids {
		if text := texts[i].Val(); text != "" && (s.rec == nil || id != s.rec.Node) {
			present[id] = s.take(id, text)
		}
	}
	return nil
}

// take remembers the record of a node, if it is one.
func (s *redisStore) take(id, text string) bool {
	e := s.known[id]
	if e == nil || e.text != text {
		rec, err := parseRedisRecord(id, text)
		if err != nil {
			s.log.ignored(id, err.Error())
			return false
		}
		e = &redisEntry{rec: rec, text: text}
		s.known[id] = e
	}
	e.seen = time.Now()
	return true
}

// parseRedisRecord reads what is kept of the node id, which may be anything.
func parseRedisRecord(id, text string) (*Record, error) {
	if len(text) > maxRecordBytes {
		return nil, fmt.Errorf("it is larger than %d bytes", maxRecordBytes)
	}
	rec := &Record{}
	if err := json.Unmarshal([]byte(text), rec); err != nil {
		return nil, err
	}
	if err := checkRecord(rec); err != nil {
		return nil, err
	}
	if rec.Node != id {
		return nil, fmt.Errorf("it is the record of node %s", rec.Node)
	}
	trimRecord(rec)
	return rec, nil
}

// settle forgets who is not there, but not those that went all together.
func (s *redisStore) settle(present map[string]bool) {
	now := time.Now()
	for id := range s.known {
		if !present[id] && !now.Before(s.graceUntil) {
			delete(s.known, id)
		}
	}
}

// publish shows what is known.
func (s *redisStore) publish(legacy map[string]*Record) {
	records := make(map[string]*Record, len(s.known)+len(legacy))
	taken := map[string]bool{}
	note := func(rec *Record) {
		for _, endpoint := range rec.Endpoints {
			taken[endpoint] = true
		}
	}
	if s.rec != nil {
		note(s.rec)
	}
	for id, e := range s.known {
		records[id] = e.rec
		note(e.rec)
	}
	for id, rec := range legacy {
		// A node of ours in both layouts is one node.
		if !taken[rec.Endpoints[0]] {
			records[id] = rec
		}
	}
	s.board.show(records, nil)
}

// withdraw implements store.
func (s *redisStore) withdraw(ctx context.Context) error {
	if !s.tried {
		return nil
	}
	_, err := s.client.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.Del(ctx, s.keys.node+s.rec.Node)
		p.ZRem(ctx, s.keys.nodes, s.rec.Node)
		s.markChange(ctx, p)
		return nil
	})
	if err == nil && s.oslo != nil {
		err = s.oslo.withdraw(ctx, s.client)
	}
	if err != nil {
		return s.conns.failed("withdraw this node from", err)
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/parleymq/parley/plugin/driver"
)

// osloLayout is what oslo.messaging 8.x keeps in Redis: register, get_hosts and _smembers of
// upstream's oslo_messaging/_drivers/zmq_driver/matchmaker/zmq_matchmaker_redis.py and the keys of
// oslo_messaging/_drivers/zmq_driver/zmq_address.py at 8.1.4.
//
// ROUTER/<topic> and ROUTER/<topic>/<server> are sets of host:port. A member counts while the key
// of its own name exists. There are no namespaces and no exchanges.
type osloLayout struct {
	// alive is how long the key of the own name lives.
	alive time.Duration

	host string             // the own member
	keys []string           // of the sets that it is in
	last map[string]*Record // what was read
}

const (
	osloPrefix = "ROUTER/"
	// osloExpire is upstream's default of zmq_target_expire. The sets are everybody's.
	osloExpire = 300 * time.Second
	osloMember = " "
	// osloScan is how many keys Redis looks at in one round trip, and osloScans how many of
	// those a look takes at most.
	osloScan  = 1000
	osloScans = 1000
)

func newOsloLayout(ttl time.Duration) *osloLayout {
	// It is renewed as the own record is. Upstream's is five minutes, for which a dead node is
	// still sent to; nobody can tell the difference otherwise.
	return &osloLayout{alive: max(2*ttl, 2*time.Second).Round(time.Second), last: map[string]*Record{}}
}

// osloHost returns what rec is called in this layout, or "".
func osloHost(rec *Record) string {
	for _, endpoint := range rec.Endpoints {
		if host, ok := strings.CutPrefix(endpoint, schemeTCP); ok {
			return host
		}
	}
	return ""
}

// osloKeys returns the sets that a node with such targets is in.
func osloKeys(targets []Target) []string {
	var keys []string
	add := func(key string) {
		if !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	for _, t := range targets {
		switch {
		case t.Topic == "":
		case t.Kind == driver.SourceServer:
			if t.Server != "" {
				server, _, _ := strings.Cut(t.Server, "@")
				add(osloPrefix + t.Topic + "/" + server)
			}
			add(osloPrefix + t.Topic)
		case t.Kind == driver.SourceNotifications && t.Pool == "":
			add(osloPrefix + t.Topic + "." + t.Priority)
		}
	}
	return keys
}

// write registers rec and takes back what it was registered for and is not any more.
func (o *osloLayout) write(ctx context.Context, client *redis.Client, rec *Record) error {
	host, keys := osloHost(rec), osloKeys(rec.Targets)
	if host == "" {
		keys = nil
	}
	gone := slices.DeleteFunc(slices.Clone(o.keys), func(key string) bool { return host == o.host && slices.Contains(keys, key) })
	if err := o.remove(ctx, client, gone, host != o.host || len(keys) == 0); err != nil {
		return err
	}
	o.host, o.keys = host, keys
	if len(keys) == 0 {
		return nil
	}
	shorter, err := shorterThan(ctx, client, keys, osloExpire)
	if err != nil {
		return err
	}
	_, err = client.TxPipelined(ctx, func(p redis.Pipeliner) error {
		for i, key := range keys {
			p.SAdd(ctx, key, host)
			if shorter[i] {
				p.Expire(ctx, key, osloExpire)
			}
		}
		p.SAdd(ctx, host, osloMember)
		p.Expire(ctx, host, o.alive)
		return nil
	})
	return err
}

// shorterThan tells which keys live shorter than d or do not exist. Those that others let live
// longer, or for ever, are left as they are.
func shorterThan(ctx context.Context, client *redis.Client, keys []string, d time.Duration) ([]bool, error) {
	ttls := make([]*redis.DurationCmd, len(keys))
	_, err := client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, key := range keys {
			ttls[i] = p.TTL(ctx, key)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	shorter := make([]bool, len(keys))
	for i, ttl := range ttls {
		shorter[i] = ttl.Val() == ttlMissing || ttl.Val() >= 0 && ttl.Val() < d
	}
	return shorter, nil
}

// ttlMissing is the library's answer for a key that does not exist; one that never expires is -1.
const ttlMissing = time.Duration(-2)

func (o *osloLayout) withdraw(ctx context.Context, client *redis.Client) error {
	return o.remove(ctx, client, o.keys, true)
}

// remove unregisters the own member from keys, and all of it when it is dead.
func (o *osloLayout) remove(ctx context.Context, client *redis.Client, keys []string, dead bool) error {
	if o.host == "" || len(keys) == 0 {
		return nil
	}
	_, err := client.TxPipelined(ctx, func(p redis.Pipeliner) error {
		for _, key := range keys {
			p.SRem(ctx, key, o.host)
		}
		if dead {
			p.SRem(ctx, o.host, osloMember)
		}
		return nil
	})
	return err
}

// read returns the nodes that are registered and alive, without the own one, by node id.
func (o *osloLayout) read(ctx context.Context, client *redis.Client) (map[string]*Record, error) {
	keys, err := scanKeys(ctx, client)
	if err != nil {
		return nil, err
	}
	members, err := readSets(ctx, client, keys)
	if err != nil {
		return nil, err
	}
	alive, err := o.living(ctx, client, members)
	if err != nil {
		return nil, err
	}
	records := make(map[string]*Record, len(alive))
	for _, host := range alive {
		if rec := o.recordOf(host, members[host]); rec != nil {
			records[rec.Node] = rec
		}
	}
	o.last = records
	return records, nil
}

// scanKeys finds the sets.
func scanKeys(ctx context.Context, client *redis.Client) ([]string, error) {
	found := map[string]bool{}
	var cursor uint64
	for range osloScans {
		some, next, err := client.ScanType(ctx, cursor, osloPrefix+"*", osloScan, "set").Result()
		if err != nil {
			return nil, err
		}
		for _, key := range some {
			found[key] = true
		}
		if cursor = next; cursor == 0 || len(found) > maxRedisNodes {
			break
		}
	}
	keys := make([]string, 0, len(found))
	for key := range found {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys, nil
}

// readSets returns the sets that each member is in.
func readSets(ctx context.Context, client *redis.Client, keys []string) (map[string][]string, error) {
	members := map[string][]string{}
	for chunk := range slices.Chunk(keys, redisGet) {
		sets := make([]*redis.StringSliceCmd, len(chunk))
		_, err := client.Pipelined(ctx, func(p redis.Pipeliner) error {
			for i, key := range chunk {
				sets[i] = p.SMembers(ctx, key)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		for i, set := range sets {
			for _, host := range set.Val() {
				if _, ok := members[host]; ok || len(members) < maxRedisNodes {
					members[host] = append(members[host], chunk[i])
				}
			}
		}
	}
	return members, nil
}

// living returns those members whose own key exists.
func (o *osloLayout) living(ctx context.Context, client *redis.Client, members map[string][]string) ([]string, error) {
	hosts := make([]string, 0, len(members))
	for host := range members {
		if host != o.host {
			hosts = append(hosts, host)
		}
	}
	slices.Sort(hosts)
	var alive []string
	for chunk := range slices.Chunk(hosts, redisGet) {
		ttls := make([]*redis.DurationCmd, len(chunk))
		_, err := client.Pipelined(ctx, func(p redis.Pipeliner) error {
			for i, host := range chunk {
				ttls[i] = p.TTL(ctx, host)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		for i, host := range chunk {
			if ttls[i].Val() != ttlMissing {
				alive = append(alive, host)
			}
		}
	}
	return alive, nil
}

// recordOf makes a record of a member and the sets that it is in, or nil when it has no address.
// Its version grows when it changes.
func (o *osloLayout) recordOf(host string, keys []string) *Record {
	endpoint, err := parseEndpoint(schemeTCP+host, 0)
	if err != nil {
		return nil
	}
	rec := &Record{Node: osloNode(host), Name: host, Endpoints: []string{endpoint}, Legacy: true}
	for _, key := range keys {
		for _, t := range osloTargets(key, keys) {
			if t.longest() <= maxText && len(rec.Targets) < maxTargets {
				rec.Targets = append(rec.Targets, t)
			}
		}
	}
	old := o.last[rec.Node]
	if old == nil {
		rec.Version = 1
		return rec
	}
	rec.Version = old.Version
	if rec.equal(old) {
		return old
	}
	rec.Version++
	return rec
}

// osloNode is the node id of a member, which is the same each time.
func osloNode(host string) string {
	sum := sha256.Sum256([]byte("oslo8 " + host))
	return hex.EncodeToString(sum[:nodeIDLength/2])
}

// osloTargets is what a member of the set key listens to. A member of ROUTER/a/b is server b of
// topic a when it is in ROUTER/a as well, as every server is. A topic that ends in a priority may
// be one of notifications too: the layout does not tell.
func osloTargets(key string, keys []string) []Target {
	topic := strings.TrimPrefix(key, osloPrefix)
	if i := strings.LastIndexByte(topic, '/'); i > 0 && slices.Contains(keys, osloPrefix+topic[:i]) {
		return []Target{{Kind: driver.SourceServer, Topic: topic[:i], Server: topic[i+1:]}}
	}
	targets := []Target{{Kind: driver.SourceServer, Topic: topic}}
	if i := strings.LastIndexByte(topic, '.'); i > 0 && isPriority(topic[i+1:]) {
		targets = append(targets, Target{Kind: driver.SourceNotifications, Topic: topic[:i], Priority: topic[i+1:]})
	}
	return targets
}

// isPriority knows the priorities of upstream's oslo_messaging/notify/notifier.py.
func isPriority(s string) bool {
	switch s {
	case "audit", "critical", "debug", "error", "info", "sample", "warn":
		return true
	default:
		return false
	}
}

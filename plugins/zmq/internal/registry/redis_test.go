// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/parleymq/parley/internal/peertest"
	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/testkit"
)

func hostOf(t testing.TB, addr, password string) driver.Host {
	t.Helper()
	name, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return driver.Host{Name: name, Port: n, Password: driver.Secret(password), HasPassword: password != ""}
}

func redisOptions(t testing.TB, addrs ...string) Options {
	o := Options{Variant: "redis"}
	for _, addr := range addrs {
		o.Hosts = append(o.Hosts, hostOf(t, addr, ""))
	}
	return o
}

// rawRedis is a client of the test's own.
func rawRedis(t testing.TB, addr string) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: addr, Protocol: 2, DisableIdentity: true})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func healthy(t testing.TB, r Registry) {
	t.Helper()
	eventually(t, "Redis is reached", func() bool { return r.Health() == nil })
}

func TestRedis(t *testing.T) {
	server := peertest.RunRedis(t, nil)
	raw := rawRedis(t, server.Addr())
	a, b := open(t, redisOptions(t, server.Addr())), open(t, redisOptions(t, server.Addr()))
	spaced := redisOptions(t, server.Addr())
	spaced.Namespace = "other"
	c := open(t, spaced)
	healthy(t, b)
	publish(t, a, version(1, 1))
	publish(t, b, version(2, 1))
	publish(t, c, version(3, 1))
	refresh(t, a)
	if !has(2)(a.View()) {
		t.Fatalf("the view has %v", a.View().Records)
	}
	waitView(t, b, "a hint arrives", has(1))
	refresh(t, c)
	if !has()(c.View()) {
		t.Errorf("another namespace sees %v", c.View().Records)
	}
	if ttl := raw.PTTL(t.Context(), "parley:{}:node:"+nodeID(1)).Val(); ttl <= 0 || ttl > DefaultTTL {
		t.Errorf("the record lives %v", ttl)
	}
	if n := raw.ZCard(t.Context(), "parley:{}:nodes").Val(); n != 2 {
		t.Errorf("%d nodes are listed", n)
	}

	for v := range uint64(300) {
		publish(t, a, version(1, v+2))
		refresh(t, b)
		if got := b.View().Records[nodeID(1)]; got == nil || got.Version != v+2 {
			t.Fatalf("version %d was published, %v is seen", v+2, got)
		}
	}
	publish(t, a, version(1, 5)) // overtaken
	refresh(t, b)
	if v := b.View().Records[nodeID(1)].Version; v != 301 {
		t.Errorf("version 301 was replaced by %d", v)
	}
	// A write that was slow to arrive is undone by its writer, and not believed meanwhile.
	text, err := json.Marshal(version(1, 7))
	if err != nil {
		t.Fatal(err)
	}
	raw.Set(t.Context(), "parley:{}:node:"+nodeID(1), text, time.Minute)
	raw.Set(t.Context(), "parley:{}:changes", "x", time.Minute)
	refresh(t, b)
	if v := b.View().Records[nodeID(1)].Version; v != 301 {
		t.Errorf("version 301 was replaced by %d", v)
	}
	eventually(t, "the newest is there again", func() bool {
		return strings.Contains(raw.Get(t.Context(), "parley:{}:node:"+nodeID(1)).Val(), `"version":301`)
	})

	shut(t, a)
	waitView(t, b, "a closed node goes", has())
	if raw.Exists(t.Context(), "parley:{}:node:"+nodeID(1)).Val() != 0 {
		t.Error("the record of a closed node is left")
	}
}

// TestRedisAway kills Redis, which forgets everything, and pauses it.
func TestRedisAway(t *testing.T) {
	server := peertest.RunRedis(t, nil)
	logs := &testkit.Logs{}
	o := redisOptions(t, server.Addr())
	o.Logger = logs.Logger()
	a, b := open(t, redisOptions(t, server.Addr())), open(t, o)
	publish(t, a, record(1))
	publish(t, b, record(2))
	waitView(t, b, "the other is seen", has(1))
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is not healthy", func() bool { return b.Health() != nil })
	testkit.FailsWith(t, b.Health(), driver.ReasonNotConnected)
	if err := a.Publish(within(t, 3*time.Second), *version(1, 2)); err == nil {
		t.Error("it was announced in a Redis that is down")
	}
	testkit.FailsWith(t, a.Refresh(within(t, 3*time.Second)), driver.ReasonNotConnected)
	keeps(t, b, 3*time.Second, "the view is kept", has(1))
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	restarted := time.Now()
	waitView(t, b, "what was published meanwhile is seen", func(v *View) bool {
		return has(1)(v) && v.Records[nodeID(1)].Version == 2
	})
	if took := time.Since(restarted); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	healthy(t, b)
	c := open(t, redisOptions(t, server.Addr()))
	healthy(t, c)
	waitView(t, c, "both are announced again", has(1, 2))

	if err := server.Pause(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := a.Refresh(within(t, 300*time.Millisecond)); err == nil || time.Since(began) > 2*time.Second {
		t.Errorf("Refresh of a Redis that hangs: %v after %v", err, time.Since(began))
	}
	eventually(t, "it is not healthy", func() bool { return a.Health() != nil })
	if err := server.Resume(); err != nil {
		t.Fatal(err)
	}
	healthy(t, a)
	keeps(t, b, time.Second, "the view is kept", has(1))
	if n := logs.Count("does not work now"); n == 0 || n > 6 {
		t.Errorf("%d lines say that it is away", n)
	}
}

// TestRedisFlushed empties Redis under nodes that keep running.
func TestRedisFlushed(t *testing.T) {
	server := peertest.RunRedis(t, nil)
	a, b := open(t, redisOptions(t, server.Addr())), open(t, redisOptions(t, server.Addr()))
	publish(t, a, record(1))
	publish(t, b, record(2))
	waitView(t, b, "the other is seen", has(1))
	raw := rawRedis(t, server.Addr())
	if err := raw.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	keeps(t, b, 3*time.Second, "the view is kept", has(1))
	if n := raw.ZCard(t.Context(), "parley:{}:nodes").Val(); n != 2 {
		t.Errorf("%d nodes are announced again", n)
	}
}

func TestRedisExpiry(t *testing.T) {
	server := peertest.RunRedis(t, nil)
	raw := rawRedis(t, server.Addr())
	o := redisOptions(t, server.Addr())
	o.TTL = shortTTL
	a, b := open(t, o), open(t, o)
	publish(t, a, record(1))
	publish(t, b, record(2))
	// A node that died without a word, and is not renewed.
	text, err := json.Marshal(record(3))
	if err != nil {
		t.Fatal(err)
	}
	raw.Set(t.Context(), "parley:{}:node:"+nodeID(3), text, 2*time.Second)
	raw.ZAdd(t.Context(), "parley:{}:nodes", redis.Z{Score: float64(time.Now().Add(2 * time.Second).UnixMilli()), Member: nodeID(3)})
	waitView(t, b, "it is seen", has(1, 3))
	waitView(t, b, "it goes", has(1))
	keeps(t, b, 2*shortTTL, "the living one stays", has(1))
	eventually(t, "it is listed no more", func() bool { return raw.ZCard(t.Context(), "parley:{}:nodes").Val() == 2 })
}

func TestRedisForeign(t *testing.T) {
	server := peertest.RunRedis(t, nil)
	raw := rawRedis(t, server.Addr())
	put := func(id, text string) {
		raw.Set(t.Context(), "parley:{}:node:"+id, text, time.Minute)
		raw.ZAdd(t.Context(), "parley:{}:nodes", redis.Z{Score: 1e15, Member: id})
	}
	good, err := json.Marshal(record(1))
	if err != nil {
		t.Fatal(err)
	}
	put(nodeID(1), string(good))
	put(nodeID(2), `{"node":`)
	put(nodeID(3), string(good))
	put(nodeID(4), strings.Repeat("x", 8<<20))
	put("short", `{"node":"short"}`)
	logs := &testkit.Logs{}
	o := redisOptions(t, server.Addr())
	o.Logger = logs.Logger()
	b := open(t, o)
	healthy(t, b)
	for range 5 {
		refresh(t, b)
	}
	waitView(t, b, "the good one is seen", has(1))
	if n := logs.Count("is ignored"); n != 4 {
		t.Errorf("%d lines:\n%s", n, logs)
	}
	// A key of another type is an error that says so. It takes the place of the other one at once: an
	// empty view would be right in between.
	raw.Set(t.Context(), "parley:{}:nodes", "x", 0)
	if err := b.Refresh(soon(t)); err == nil || !strings.Contains(err.Error(), "WRONGTYPE") {
		t.Errorf("Refresh: %v", err)
	}
	if !has(1)(b.View()) {
		t.Error("the view was lost")
	}
}

func TestRedisPassword(t *testing.T) {
	const password = "s3cret-of-redis"
	server := peertest.RunRedis(t, &peertest.RedisOptions{Password: password})
	logs := &testkit.Logs{}
	for _, tc := range []struct {
		name, password string
		want           driver.Reason // "" for none
	}{
		{name: "right", password: password},
		{name: "wrong", password: "wr0ng-" + password, want: driver.ReasonAuthRefused},
		{name: "none", want: driver.ReasonAuthRefused},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := open(t, Options{Variant: "redis", Hosts: []driver.Host{hostOf(t, server.Addr(), tc.password)}, Logger: logs.Logger()})
			if tc.want == "" {
				healthy(t, r)
				return
			}
			err := r.Publish(soon(t), *record(1))
			e := testkit.Failure(t, err, tc.want)
			if strings.Contains(fmt.Sprintf("%v %+v %s", e, r.Health(), e.Hint), password) {
				t.Errorf("the password is in %v", e)
			}
		})
	}
	if logs.Count(password) != 0 {
		t.Error("the password is in the log")
	}
}

// TestRedisHosts has two servers, of which the first that answers is used.
func TestRedisHosts(t *testing.T) {
	first, second := peertest.RunRedis(t, nil), peertest.RunRedis(t, nil)
	o := redisOptions(t, first.Addr(), second.Addr())
	a, b := open(t, o), open(t, o)
	publish(t, a, record(1))
	publish(t, b, record(2))
	waitView(t, b, "the other is seen", has(1))
	if err := first.Kill(); err != nil {
		t.Fatal(err)
	}
	raw := rawRedis(t, second.Addr())
	eventually(t, "both go to the second", func() bool { return raw.ZCard(t.Context(), "parley:{}:nodes").Val() == 2 })
	healthy(t, b)
	publish(t, a, version(1, 2))
	waitView(t, b, "changes are seen there", func(v *View) bool { return has(1)(v) && v.Records[nodeID(1)].Version == 2 })
	if err := first.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	raw = rawRedis(t, first.Addr())
	eventually(t, "both come back", func() bool { return raw.ZCard(t.Context(), "parley:{}:nodes").Val() == 2 })
	keeps(t, b, time.Second, "the view is kept", has(1))
}

// TestRedisSentinel kills a master that a real sentinel watches.
func TestRedisSentinel(t *testing.T) {
	master := peertest.RunRedis(t, nil)
	host, port, err := net.SplitHostPort(master.Addr())
	if err != nil {
		t.Fatal(err)
	}
	replica := peertest.RunRedis(t, &peertest.RedisOptions{Config: "replicaof " + host + " " + port + "\nrepl-diskless-sync-delay 0"})
	eventually(t, "the replica follows", func() bool {
		return strings.Contains(rawRedis(t, replica.Addr()).Info(t.Context(), "replication").Val(), "master_link_status:up")
	})
	sentinel := peertest.RunRedis(t, &peertest.RedisOptions{Watch: map[string]string{"group": master.Addr()}})
	o := Options{Variant: "sentinel", Hosts: []driver.Host{hostOf(t, sentinel.Addr(), "")}, Path: "/group", HasPath: true}
	a, b := open(t, o), open(t, o)
	healthy(t, a)
	publish(t, a, record(1))
	publish(t, b, record(2))
	waitView(t, b, "the other is seen", has(1))
	watched := redis.NewSentinelClient(&redis.Options{Addr: sentinel.Addr(), Protocol: 2, DisableIdentity: true})
	t.Cleanup(func() { _ = watched.Close() })
	eventually(t, "the sentinel knows the replica", func() bool {
		replicas, err := watched.Replicas(t.Context(), "group").Result()
		return err == nil && len(replicas) == 1
	})
	if err := master.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a change arrives by the new master", func() bool {
		return a.Publish(within(t, 3*time.Second), *version(1, 2)) == nil
	})
	waitView(t, b, "the change is seen", func(v *View) bool { return has(1)(v) && v.Records[nodeID(1)].Version == 2 })
	healthy(t, b)
}

func TestRedisTLS(t *testing.T) {
	ca, other := peertest.NewAuthority(t, "ca"), peertest.NewAuthority(t, "other")
	files := ca.Issue(peertest.Issued{Name: "redis", Hosts: []string{"127.0.0.1"}})
	server := peertest.RunRedis(t, &peertest.RedisOptions{TLS: files})
	pool := func(f *peertest.TLSFiles) *tls.Config {
		text, err := os.ReadFile(f.CA)
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(text)
		return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	o := redisOptions(t, server.TLSAddr())
	o.TLS = pool(files)
	healthy(t, open(t, o))
	o.TLS = pool(other.Issue(peertest.Issued{Name: "x"}))
	testkit.FailsWith(t, open(t, o).Refresh(soon(t)), driver.ReasonTLSFailed)
}

func TestRedisManyRecords(t *testing.T) {
	const n = 200
	server := peertest.RunRedis(t, nil)
	raw := rawRedis(t, server.Addr())
	b := open(t, redisOptions(t, server.Addr()))
	healthy(t, b)
	all := make([]int, 0, n)
	for i := range n {
		text, err := json.Marshal(record(i))
		if err != nil {
			t.Fatal(err)
		}
		raw.Set(t.Context(), "parley:{}:node:"+nodeID(i), text, time.Minute)
		raw.ZAdd(t.Context(), "parley:{}:nodes", redis.Z{Score: 1e15, Member: nodeID(i)})
		all = append(all, i)
	}
	began := time.Now()
	refresh(t, b)
	t.Logf("%d records read in %v", n, time.Since(began))
	if !has(all...)(b.View()) {
		t.Fatalf("%d are seen", len(b.View().Records))
	}
	raw.Set(t.Context(), "parley:{}:changes", "x", time.Minute)
	refresh(t, b)
	const looks = 200
	began = time.Now()
	for range looks {
		refresh(t, b)
	}
	t.Logf("%v for a Refresh when nothing changed", time.Since(began)/looks)
}

func TestRedisRefused(t *testing.T) {
	o := redisOptions(t, "127.0.0.1:1")
	o.Layout = "nonsense"
	_, err := Open(o)
	testkit.FailsWith(t, err, driver.ReasonConfig)
	o.Layout = ""
	began := time.Now()
	r := open(t, o)
	if took := time.Since(began); took > time.Second || r.Health() == nil {
		t.Errorf("Open took %v, Health is %v", took, r.Health())
	}
	if keys := keysFor("a}b/{c"); keys.nodes != "parley:{a%7Db%2F%7Bc}:nodes" {
		t.Errorf("the keys are %+v", keys)
	}
}

func oslo8(t testing.TB, addr string) Options {
	o := redisOptions(t, addr)
	o.Layout = LayoutOslo8
	return o
}

// register does what MatchmakerRedisBase.register of 8.1.4 does.
func register(t testing.TB, raw *redis.Client, topic, server, host string, expire time.Duration) {
	t.Helper()
	keys := []string{osloPrefix + topic}
	if server != "" {
		keys = append(keys, osloPrefix+topic+"/"+server)
	}
	for _, key := range keys {
		for key, member := range map[string]string{key: host, host: " "} {
			if err := raw.SAdd(t.Context(), key, member).Err(); err != nil {
				t.Fatal(err)
			}
			if expire > 0 {
				raw.Expire(t.Context(), key, expire)
			}
		}
	}
}

// getHosts is _smembers of 8.1.4.
func getHosts(t testing.TB, raw *redis.Client, key string) []string {
	t.Helper()
	var hosts []string
	for _, host := range raw.SMembers(t.Context(), key).Val() {
		if ttl := raw.TTL(t.Context(), host).Val(); ttl >= -1 {
			hosts = append(hosts, host)
		}
	}
	slices.Sort(hosts)
	return hosts
}

func TestOslo8Reads(t *testing.T) {
	server := peertest.RunRedis(t, nil)
	raw := rawRedis(t, server.Addr())
	register(t, raw, "compute", "s1", "old:50001", 300*time.Second)
	register(t, raw, "compute", "", "never:50002", 0)
	register(t, raw, "notifications.info", "", "old:50003", 300*time.Second)
	register(t, raw, "compute", "s2", "dead:50004", 300*time.Second)
	raw.Del(t.Context(), "dead:50004")
	raw.SAdd(t.Context(), "ROUTER/compute", "no address")
	raw.SAdd(t.Context(), "no address", " ")
	raw.Set(t.Context(), "ROUTER/other", "not a set", 0)
	raw.SAdd(t.Context(), "DEALER/compute", "proxied")

	b := open(t, oslo8(t, server.Addr()))
	healthy(t, b)
	refresh(t, b)
	got := map[string]*Record{}
	for id, rec := range b.View().Records {
		if !rec.Legacy || rec.Node != id || !isNodeID(id) || rec.Version == 0 {
			t.Errorf("%+v", rec)
		}
		got[rec.Endpoints[0]] = rec
	}
	rpc := Target{Kind: driver.SourceServer, Topic: "compute"}
	s1 := Target{Kind: driver.SourceServer, Topic: "compute", Server: "s1"}
	for endpoint, targets := range map[string][]Target{
		"tcp://old:50001":   {rpc, s1},
		"tcp://never:50002": {rpc},
		"tcp://old:50003": {
			{Kind: driver.SourceServer, Topic: "notifications.info"},
			{Kind: driver.SourceNotifications, Topic: "notifications", Priority: "info"},
		},
	} {
		if rec := got[endpoint]; rec == nil || !slices.Equal(rec.Targets, targets) {
			t.Errorf("%s is %+v, want %+v", endpoint, rec, targets)
		}
	}
	if len(got) != 3 {
		t.Errorf("the view has %v", got)
	}
	before := got["tcp://old:50001"].Version
	register(t, raw, "scheduler", "s1", "old:50001", 300*time.Second)
	refresh(t, b)
	if rec := b.View().Records[osloNode("old:50001")]; rec.Version <= before || len(rec.Targets) != 4 {
		t.Errorf("after a change it is %+v", rec)
	}
}

func TestOslo8Writes(t *testing.T) {
	server := peertest.RunRedis(t, nil)
	raw := rawRedis(t, server.Addr())
	register(t, raw, "t", "", "forever:1", 0)
	a, b := open(t, oslo8(t, server.Addr())), open(t, oslo8(t, server.Addr()))
	rec := record(1)
	rec.Targets = []Target{
		{Kind: driver.SourceServer, Exchange: "x", Topic: "t", Server: "s@backend"},
		{Kind: driver.SourceServer, Exchange: "x", Topic: "u"},
		{Kind: driver.SourceNotifications, Exchange: "x", Topic: "n", Priority: "info"},
		{Kind: driver.SourceNotifications, Exchange: "x", Topic: "p", Priority: "info", Pool: "pool"},
		{Kind: driver.SourceReplies, Reply: "r"},
	}
	publish(t, a, rec)
	publish(t, b, record(2))
	host, _ := strings.CutPrefix(rec.Endpoints[0], schemeTCP)
	for key, want := range map[string][]string{
		"ROUTER/t": {host, "forever:1", strings.TrimPrefix(record(2).Endpoints[0], schemeTCP)}, "ROUTER/t/s": {host},
		"ROUTER/u": {host}, "ROUTER/n.info": {host}, "ROUTER/p.info": nil,
	} {
		slices.Sort(want)
		if got := getHosts(t, raw, key); !slices.Equal(got, want) {
			t.Errorf("%s has %v, want %v", key, got, want)
		}
	}
	if ttl := raw.TTL(t.Context(), "ROUTER/t").Val(); ttl != -1 {
		t.Errorf("a set that never expires now does, in %v", ttl)
	}
	if ttl := raw.TTL(t.Context(), "ROUTER/u").Val(); ttl <= 290*time.Second || ttl > osloExpire {
		t.Errorf("a new set expires in %v", ttl)
	}
	if members := raw.SMembers(t.Context(), host).Val(); !slices.Equal(members, []string{" "}) {
		t.Errorf("the key of the own name has %q", members)
	}
	refresh(t, b)
	if v := b.View(); v.Records[nodeID(1)] == nil || v.Records[osloNode("forever:1")] == nil || len(v.Records) != 2 {
		t.Errorf("the view has %v", v.Records)
	}

	less := rec.clone()
	less.Version, less.Targets = 2, less.Targets[:1]
	publish(t, a, less)
	if got := getHosts(t, raw, "ROUTER/u"); got != nil {
		t.Errorf("what is not listened to any more has %v", got)
	}
	shut(t, a)
	if got := getHosts(t, raw, "ROUTER/t/s"); got != nil || raw.Exists(t.Context(), host).Val() != 0 {
		t.Errorf("a closed node is left in %v", got)
	}
}

func FuzzParseRedisRecord(f *testing.F) {
	good, err := json.Marshal(record(1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(good))
	f.Add(`{"node":"x"}`)
	f.Fuzz(func(t *testing.T, text string) {
		rec, err := parseRedisRecord(nodeID(1), text)
		if err == nil && (rec.Node != nodeID(1) || len(rec.Endpoints) > maxEndpoints || len(rec.Targets) > maxTargets) {
			t.Errorf("%q is read as %+v", text, rec)
		}
	})
}

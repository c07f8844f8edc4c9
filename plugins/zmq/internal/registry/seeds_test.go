// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parleymq/parley/plugin/driver"
	"github.com/parleymq/parley/plugins/internal/testkit"
)

// pair is one seeds registry with a clock and the messages that a peer sends it.
type pair struct {
	*seeds
	t   testing.TB
	now time.Time
}

func newPair(t testing.TB, change func(*seedLimits)) *pair {
	t.Helper()
	p := &pair{t: t, now: time.Unix(1e9, 0)}
	limits := defaultSeedLimits(0)
	if change != nil {
		change(&limits)
	}
	o := Options{Hosts: []driver.Host{{Name: "h0"}, {Name: "h1", Port: 7}, {Name: "h0", Port: 9501}}, Logger: slog.New(slog.DiscardHandler)}
	s, err := newSeedsWith(o.withDefaults(), limits, func() time.Time { return p.now })
	if err != nil {
		t.Fatal(err)
	}
	p.seeds = s
	publish(t, s, record(0))
	return p
}

func (p *pair) pass(d time.Duration) {
	p.now = p.now.Add(d)
	p.Digest()
}

// hear makes the registry receive news.
func (p *pair) hear(state nodeState, inc uint64, records ...*Record) {
	p.t.Helper()
	var m newsMessage
	for _, r := range records {
		data, err := encodeRecord(r)
		if err != nil {
			p.t.Fatal(err)
		}
		m.Records = append(m.Records, toldRecord{state: state, inc: inc, data: data})
	}
	p.receive(m.encode(""))
}

// rumour makes the registry receive an opinion of the nth node.
func (p *pair) rumour(n int, state nodeState, inc uint64) {
	p.t.Helper()
	m := newsMessage{Opinions: []opinion{{key: keyOf(nodeID(n)), state: state, inc: inc}}}
	p.receive(m.encode(""))
}

func (p *pair) receive(payload []byte) []byte {
	p.t.Helper()
	answer, err := p.Receive(nodeID(1), payload)
	if err != nil {
		p.t.Fatal(err)
	}
	return answer
}

func (p *pair) sees(want ...int) {
	p.t.Helper()
	if v := p.View(); !has(want...)(v) {
		p.t.Fatalf("the view has %d records, want nodes %v", len(v.Records), want)
	}
}

// own is what the registry says of itself.
func (p *pair) own() opinion {
	p.t.Helper()
	g, err := decodeGossip(p.Digest(), "")
	if err != nil {
		p.t.Fatal(err)
	}
	i := slices.IndexFunc(g.digest.Opinions, func(o opinion) bool { return o.key == keyOf(nodeID(0)) })
	return g.digest.Opinions[i]
}

func TestSeedsStates(t *testing.T) {
	for name, tc := range map[string]struct {
		run  func(*pair)
		want []int
	}{
		"hearsay makes known":        {func(p *pair) { p.hear(alive, 0, record(1)) }, []int{1}},
		"rumours of the dead do not": {func(p *pair) { p.hear(dead, 3, record(1)); p.hear(suspect, 3, record(2)) }, nil},
		"suspect is still seen":      {func(p *pair) { p.hear(alive, 0, record(1)); p.Gone(nodeID(1)); p.pass(4 * time.Second) }, []int{1}},
		"dead after five seconds":    {func(p *pair) { p.hear(alive, 0, record(1)); p.Gone(nodeID(1)); p.pass(5 * time.Second) }, nil},
		"a higher incarnation refutes": {func(p *pair) {
			p.hear(alive, 0, record(1))
			p.Gone(nodeID(1))
			p.rumour(1, alive, 1)
			p.pass(9 * time.Second)
		}, []int{1}},
		"the same incarnation does not": {func(p *pair) {
			p.hear(alive, 1, record(1))
			p.Gone(nodeID(1))
			p.rumour(1, alive, 1)
			p.pass(9 * time.Second)
		}, nil},
		"old gossip does not raise the dead": {func(p *pair) { p.hear(alive, 1, record(1)); p.rumour(1, dead, 1); p.hear(alive, 1, version(1, 9)) }, nil},
		"the dead may return":                {func(p *pair) { p.hear(alive, 1, record(1)); p.rumour(1, dead, 1); p.hear(alive, 2, record(1)) }, []int{1}},
		"first-hand beats hearsay":           {func(p *pair) { p.Alive(record(1)); p.rumour(1, dead, 5); p.pass(9 * time.Second) }, []int{1}},
		"until it ends":                      {func(p *pair) { p.Alive(record(1)); p.rumour(1, dead, 5); p.Gone(nodeID(1)) }, nil},
		"a link raises the dead":             {func(p *pair) { p.hear(alive, 1, record(1)); p.rumour(1, dead, 1); p.Alive(record(1)) }, []int{1}},
		"a goodbye beats a link":             {func(p *pair) { p.Alive(record(1)); p.rumour(1, left, 5) }, nil},
		"and a Hello under way":              {func(p *pair) { p.Alive(record(1)); p.rumour(1, left, 5); p.Alive(record(1)) }, nil},
		"nothing new for long":               {func(p *pair) { p.hear(alive, 0, record(1)); p.pass(16 * time.Second); p.pass(5 * time.Second) }, nil},
		"renewed": {func(p *pair) {
			p.hear(alive, 0, record(1))
			p.pass(14 * time.Second)
			p.rumour(1, alive, 1)
			p.pass(14 * time.Second)
		}, []int{1}},
		"a link that nothing comes from": {func(p *pair) { p.Alive(record(1)); p.pass(16 * time.Second); p.pass(5 * time.Second) }, nil},
		"ourselves are not among them":   {func(p *pair) { p.hear(alive, 9, version(0, 9)); p.Alive(version(0, 9)); p.Gone(nodeID(0)) }, nil},
		"the unknown is gone already":    {func(p *pair) { p.Gone(nodeID(5)); p.Gone("") }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, nil)
			tc.run(p)
			p.sees(tc.want...)
		})
	}
}

func TestSeedsKeepTheNewestRecord(t *testing.T) {
	p := newPair(t, nil)
	p.hear(alive, 0, version(1, 5))
	p.hear(alive, 7, version(1, 4))
	p.Alive(version(1, 3))
	if got := p.View().Records[nodeID(1)].Version; got != 5 {
		t.Errorf("version %d replaced version 5", got)
	}
	changed := p.Changed()
	p.hear(alive, 7, version(1, 6))
	select {
	case <-changed:
	default:
		t.Error("nobody was told of a new view")
	}
	if got := p.View().Records[nodeID(1)].Version; got != 6 {
		t.Errorf("version %d, want 6", got)
	}
	changed = p.Changed()
	p.rumour(1, suspect, 8)
	p.hear(alive, 9, version(1, 6))
	select {
	case <-changed:
		t.Error("told of a view that is the same")
	default:
	}
}

func TestSeedsAnswerSuspicion(t *testing.T) {
	for _, state := range []nodeState{suspect, dead, left} {
		p := newPair(t, nil)
		p.rumour(0, state, 3)
		if own := p.own(); own.state != alive || own.inc != 4 {
			t.Errorf("after %d: state %d, incarnation %d", state, own.state, own.inc)
		}
		p.rumour(0, state, 2)
		if own := p.own(); own.inc != 4 {
			t.Errorf("an old rumour counts: incarnation %d", own.inc)
		}
		// The one who asks hears it in the answer.
		d := digestMessage{To: lastKey, Opinions: []opinion{{key: keyOf(nodeID(0)), state: state, known: true, version: 1, inc: 4}}}
		g, err := decodeGossip(p.receive(d.encode("")), "")
		if err != nil || len(g.news.Opinions) != 1 || g.news.Opinions[0].inc != 5 || g.news.Opinions[0].state != alive {
			t.Errorf("answer %+v, %v", g.news, err)
		}
		p.rumour(0, state, maxInc)
		if own := p.own(); own.inc > maxInc {
			t.Errorf("incarnation %d is one that nobody understands", own.inc)
		}
	}
}

func TestSeedsSayGoodbye(t *testing.T) {
	p := newPair(t, nil)
	for range 2 {
		if err := p.Close(soon(t)); err != nil {
			t.Fatal(err)
		}
	}
	p.rumour(0, suspect, 1)
	if own := p.own(); own.state != left {
		t.Errorf("state %d after Close", own.state)
	}
	testkit.FailsWith(t, p.Publish(soon(t), *version(0, 9)), driver.ReasonClosed)
}

func TestSeedsAddresses(t *testing.T) {
	p := newPair(t, nil)
	if got := p.View().Addresses; !slices.Equal(got, []string{"tcp://h0:9501", "tcp://h1:7"}) {
		t.Error(got)
	}
	rec := version(0, 2)
	rec.Endpoints = []string{"tcp://h1:7"}
	publish(t, p, rec)
	if got := p.View().Addresses; !slices.Equal(got, []string{"tcp://h0:9501"}) {
		t.Errorf("%v has ourselves", got)
	}
	if p.Health() != nil || p.Refresh(soon(t)) != nil {
		t.Error("there is no store that could be away")
	}
}

func TestSeedsRefuse(t *testing.T) {
	_, err := newSeeds(Options{})
	testkit.FailsWith(t, err, driver.ReasonConfig)
	_, err = newSeeds(Options{Hosts: []driver.Host{{Name: "a b"}}})
	testkit.FailsWith(t, err, driver.ReasonConfig)
	_, err = newSeeds(Options{Hosts: []driver.Host{{Name: "a"}}, Namespace: strings.Repeat("n", maxText+1)})
	testkit.FailsWith(t, err, driver.ReasonConfig)

	p := newPair(t, nil)
	testkit.FailsWith(t, p.Publish(soon(t), *version(0, 0)), driver.ReasonDriverBug)
	testkit.FailsWith(t, p.Publish(soon(t), *version(1, 2)), driver.ReasonDriverBug)
	bad := version(0, 2)
	bad.Endpoints = []string{"h"}
	testkit.FailsWith(t, p.Publish(soon(t), *bad), driver.ReasonConfig)
	p.Alive(&Record{Node: "x"})
	p.sees()
}

func TestSeedsRefuseForeignBytes(t *testing.T) {
	head := func(kind byte) []byte { return gossipHead(kind, "") }
	key := make([]byte, keyLength)
	for name, payload := range map[string][]byte{
		"nothing":             nil,
		"another format":      {9, 1, 0},
		"another kind":        {1, 9, 0},
		"another namespace":   gossipHead(kindDigest, "other"),
		"only a head":         head(kindDigest),
		"too large":           make([]byte, maxGossip+1),
		"bytes behind it":     append((&newsMessage{}).encode(""), 0),
		"a count of billions": append(append(append(head(kindDigest), key...), key...), 0xff, 0xff, 0xff, 0xff, 0x0f),
		"an unending number":  append(head(kindNews), slices.Repeat([]byte{0xff}, 40)...),
		"an unknown state":    append(append(append(head(kindNews), 1), key...), 4, 0, 0, 0, 0),
		"a high incarnation":  appendOpinions(head(kindNews), []opinion{{inc: maxInc + 1}}),
	} {
		p := newPair(t, nil)
		if answer, err := p.Receive(nodeID(1), payload); err == nil || answer != nil {
			t.Errorf("%s: answer %x, error %v", name, answer, err)
		}
		p.sees()
	}
}

// TestSeedsLeaveOutStrangeRecords: one that another release understands does not stop the others.
func TestSeedsLeaveOutStrangeRecords(t *testing.T) {
	p := newPair(t, nil)
	m := newsMessage{Records: []toldRecord{
		{data: []byte(`{"node":"x"}`)}, {data: []byte("{")},
		{data: fmt.Appendf(nil, `{"node":%q,"version":1,"endpoints":["quic://h:1"]}`, nodeID(3))},
		{data: fmt.Appendf(nil, `{"node":%q,"version":1,"new":[1],"targets":[{"kind":99},{"kind":1,"topic":"t"}]}`, nodeID(4))},
	}}
	p.receive(m.encode(""))
	p.sees(4)
	if targets := p.View().Records[nodeID(4)].Targets; len(targets) != 1 {
		t.Errorf("targets %v", targets)
	}
}

func TestSeedsAreBounded(t *testing.T) {
	p := newPair(t, func(l *seedLimits) { l.Nodes, l.Graves, l.Bytes = 50, 10, 100<<10 })
	for n := 1; n <= 200; n++ {
		p.hear(alive, 0, record(n))
	}
	if got := len(p.nodes); got != 50 {
		t.Errorf("%d nodes are remembered, want 50", got)
	}
	p.Alive(record(999))
	if p.View().Records[nodeID(999)] == nil {
		t.Error("there is no room for one that has a link")
	}
	for n := 1; n <= 200; n++ {
		p.rumour(n, dead, 0)
	}
	p.pass(time.Second)
	if got := len(p.nodes); got != 10+2 {
		t.Errorf("%d nodes are remembered, want 10 graves, ourselves and a link", got)
	}
	p.pass(defaultSeedLimits(0).Bury + time.Second)
	if got := len(p.nodes); got > 2 {
		t.Errorf("%d nodes are remembered after all was forgotten", got)
	}

	big := record(300)
	for i := range 400 {
		big.Targets = append(big.Targets, Target{Kind: driver.SourceServer, Topic: fmt.Sprint(strings.Repeat("t", 500), i)})
	}
	p.hear(alive, 0, big)
	if p.View().Records[nodeID(300)] != nil || p.size > 100<<10 {
		t.Errorf("a record beyond the bound was taken; %d bytes", p.size)
	}
}

// TestSeedsDigestOfManyNodes: short for 1000 nodes with the longest numbers, and in parts when
// there are more.
func TestSeedsDigestOfManyNodes(t *testing.T) {
	p := newPair(t, nil)
	for n := 1; n < 1000; n++ {
		p.hear(alive, 1<<40, version(n, math.MaxUint64-5))
	}
	if got := len(p.Digest()); got > 64<<10 {
		t.Errorf("the digest of 1000 nodes has %d bytes", got)
	} else {
		t.Logf("the digest of 1000 nodes with the longest numbers has %d bytes", got)
	}
	for n := 1000; n < 4000; n++ {
		p.hear(alive, 1, record(n))
	}
	said := map[nodeKey]int{}
	var edge nodeKey
	for range 10 {
		digest := p.Digest()
		g, err := decodeGossip(digest, "")
		if err != nil || len(digest) > 64<<10 {
			t.Fatalf("%d bytes: %v", len(digest), err)
		}
		if g.digest.From != edge {
			t.Fatalf("a part begins at %s, want %s", g.digest.From, edge)
		}
		for _, o := range g.digest.Opinions {
			said[o.key]++
		}
		if g.digest.To == lastKey {
			break
		}
		i := slices.IndexFunc(slices.Sorted(maps.Keys(p.nodes)), func(id string) bool { return keyOf(id) == g.digest.To })
		edge = keyOf(slices.Sorted(maps.Keys(p.nodes))[i+1])
	}
	if len(said) != 4000 {
		t.Errorf("%d nodes in all parts, want 4000", len(said))
	}
	// A newcomer gets all of them from such parts.
	o := newPair(t, nil)
	publish(t, o, record(0))
	for range 40 {
		for payload, from, to := p.Digest(), p, o; payload != nil; from, to = to, from {
			payload = to.receive(payload)
		}
	}
	if got := len(o.View().Records); got != 3999 {
		t.Errorf("the newcomer knows %d nodes, want 3999", got)
	}
}

func TestSeedsFromManyGoroutines(t *testing.T) {
	r, err := newSeeds(Options{Hosts: []driver.Host{{Name: "h"}}})
	if err != nil {
		t.Fatal(err)
	}
	s := r.(*seeds)
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			for i := range 200 {
				publish(t, s, record(0))
				s.Alive(version(1+g, uint64(i)))
				_, _ = s.Receive(nodeID(1), s.Digest())
				s.Gone(nodeID(1 + g))
				_ = s.View().Records
			}
		})
	}
	all.Wait()
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// FuzzSeedsReceive: no bytes may panic, take much memory, or harm what is known.
func FuzzSeedsReceive(f *testing.F) {
	p := newPair(f, nil)
	p.hear(alive, 3, record(1), record(2))
	p.rumour(2, dead, 3)
	f.Add(p.Digest())
	data, err := encodeRecord(record(3))
	if err != nil {
		f.Fatal(err)
	}
	news := newsMessage{
		Opinions: []opinion{{key: keyOf(nodeID(0)), state: suspect, known: true, version: 1, inc: 3}},
		Wanted:   []nodeKey{keyOf(nodeID(1))}, Records: []toldRecord{{state: alive, inc: 1, data: data}},
	}
	f.Add(news.encode(""))
	f.Fuzz(func(t *testing.T, payload []byte) {
		p := newPair(t, nil)
		p.Alive(record(1))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		answer, err := p.Receive(nodeID(1), payload)
		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 1<<20+64*uint64(len(payload)) {
			t.Errorf("%d bytes of gossip took %d of memory", len(payload), grown)
		}
		if err != nil && answer != nil {
			t.Error("an answer and an error")
		}
		if answer != nil {
			if _, err := decodeGossip(answer, ""); err != nil {
				t.Errorf("the answer is not understood: %v", err)
			}
		}
		if own := p.own(); own.state != alive || own.version != 1 {
			t.Errorf("a peer changed what we say of ourselves: %+v", own)
		}
		if v := p.View(); v.Records[nodeID(0)] != nil {
			t.Error("the own record is in the view")
		}
		if len(p.nodes) > p.limits.Nodes || p.size > p.limits.Bytes {
			t.Error("out of bounds")
		}
	})
}

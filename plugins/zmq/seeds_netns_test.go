// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parleymq/parley/internal/testbed"
	"github.com/parleymq/parley/plugin/driver"
)

const (
	islandCount = 3 // network namespaces, of two nodes each
	// partitionTime is how long the network is cut.
	partitionTime = 10 * time.Second
	// convergeTime bounds how long the nodes take to see each other again.
	convergeTime = 5 * time.Second
)

// islands are network namespaces with a bridge between them, in one more.
type islands struct {
	*testing.T
	hub   string
	names []string
	nodes []*islandNode
}

type islandNode struct {
	name   string
	island int
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Scanner
	stderr *bytes.Buffer
}

// ip runs iproute2.
func ip(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "ip", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// newIslands returns nil when this machine does not let us make network namespaces.
func newIslands(t *testing.T) *islands {
	t.Helper()
	if _, err := exec.LookPath("ip"); err != nil || os.Getuid() != 0 {
		t.Logf("NOT PROVEN: partitions of a network, which need root and iproute2: %v", err)
		return nil
	}
	s := &islands{T: t, hub: fmt.Sprintf("parley%d-hub", os.Getpid())}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := ip(ctx, "netns", "add", s.hub); err != nil {
		t.Logf("NOT PROVEN: partitions of a network, because there are no network namespaces: %v", err)
		return nil
	}
	t.Cleanup(s.remove)
	steps := [][]string{
		{"-n", s.hub, "link", "add", "br0", "type", "bridge"},
		{"-n", s.hub, "link", "set", "br0", "up"},
	}
	for i := range islandCount {
		name := fmt.Sprintf("parley%d-%d", os.Getpid(), i)
		s.names = append(s.names, name)
		port := fmt.Sprintf("port%d", i)
		steps = append(steps,
			[]string{"netns", "add", name},
			[]string{"-n", s.hub, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name},
			[]string{"-n", s.hub, "link", "set", port, "master", "br0", "up"},
			[]string{"-n", name, "link", "set", "lo", "up"},
			[]string{"-n", name, "addr", "add", islandHost(i) + "/24", "dev", "eth0"},
			[]string{"-n", name, "link", "set", "eth0", "up"},
		)
	}
	for _, step := range steps {
		if err := ip(ctx, step...); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (s *islands) remove() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for _, name := range append(s.names, s.hub) {
		if err := ip(ctx, "netns", "del", name); err != nil {
			s.Error(err)
		}
	}
}

func islandHost(i int) string { return fmt.Sprintf("10.213.77.%d", i+1) }

// start runs two nodes in each namespace. Of each, the first is a seed.
func (s *islands) start() {
	s.Helper()
	var seeds []driver.Host
	for i := range islandCount {
		seeds = append(seeds, driver.Host{Name: islandHost(i), Port: 9501})
	}
	for i := range 2 * islandCount {
		island := i % islandCount
		a := islander{Name: fmt.Sprintf("node%d-of-%d", i/islandCount, island), Host: islandHost(island), Port: 9501 + i/islandCount, Seeds: seeds}
		text, err := json.Marshal(&a)
		if err != nil {
			s.Fatal(err)
		}
		self, err := os.Executable()
		if err != nil {
			s.Fatal(err)
		}
		n := &islandNode{name: a.Name, island: island, stderr: new(bytes.Buffer)}
		n.cmd = exec.CommandContext(s.Context(), "ip", "netns", "exec", s.names[island], self)
		n.cmd.Env = append(os.Environ(), islanderVariable+"="+string(text))
		n.cmd.Stderr = n.stderr
		if n.in, err = n.cmd.StdinPipe(); err != nil {
			s.Fatal(err)
		}
		out, err := n.cmd.StdoutPipe()
		if err != nil {
			s.Fatal(err)
		}
		n.out = bufio.NewScanner(out)
		n.out.Buffer(nil, 64<<20)
		if err := n.cmd.Start(); err != nil {
			s.Fatal(err)
		}
		s.nodes = append(s.nodes, n)
	}
}

func (s *islands) tell(n *islandNode, order string) {
	s.Helper()
	if _, err := io.WriteString(n.in, order+"\n"); err != nil {
		s.Fatalf("%s: %v: %s", n.name, err, n.stderr)
	}
}

func (s *islands) hear(n *islandNode) islandReport {
	s.Helper()
	if !n.out.Scan() {
		s.Fatalf("%s says nothing: %v: %s", n.name, n.out.Err(), n.stderr)
	}
	var r islandReport
	if err := json.Unmarshal(n.out.Bytes(), &r); err != nil {
		s.Fatal(err)
	}
	return r
}

func (s *islands) reports() []islandReport {
	s.Helper()
	var all []islandReport
	for _, n := range s.nodes {
		s.tell(n, "report")
		all = append(all, s.hear(n))
	}
	return all
}

// converge waits until each node sees as many others as it should, and returns how long it took.
func (s *islands) converge(limit time.Duration, want func(*islandNode) int) time.Duration {
	s.Helper()
	from := time.Now()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		right := true
		all := s.reports()
		for i, n := range s.nodes {
			right = right && all[i].View == want(n)
		}
		switch d := time.Since(from); {
		case right:
			return d
		case d > limit:
			for i, n := range s.nodes {
				s.Errorf("after %v %s sees %d others, want %d", limit, n.name, all[i].View, want(n))
			}
			return d
		}
		<-tick.C
	}
}

// cut takes the cables of islands out, or puts them back.
func (s *islands) cut(state string, which ...int) {
	s.Helper()
	for _, i := range which {
		if err := ip(s.Context(), "-n", s.hub, "link", "set", fmt.Sprintf("port%d", i), state); err != nil {
			s.Fatal(err)
		}
	}
}

// partition cuts islands off, watches both sides, and heals the network.
func (s *islands) partition(name string, which ...int) {
	s.Helper()
	everybody := func(*islandNode) int { return len(s.nodes) - 1 }
	inside := func(n *islandNode) int {
		if slices.Contains(which, n.island) {
			return 1
		}
		return 2*(islandCount-len(which)) - 1
	}
	from := time.Now()
	s.cut("down", which...)
	converged := s.converge(partitionTime+10*time.Second, inside)
	// From here on calls go on within each side, and nowhere else.
	before := s.reports()
	settle := time.NewTimer(max(partitionTime-time.Since(from), islandTime+time.Second))
	<-settle.C
	after := s.reports()
	served, failed := 0, 0
	for i, n := range s.nodes {
		mine := 0
		for who, count := range after[i].Served {
			more := count - before[i].Served[who]
			if more > 0 && !s.reaches(n, who, which) {
				s.Errorf("%s had %d answers of %s in the other part", n.name, more, who)
			}
			mine += more
		}
		if mine == 0 {
			s.Errorf("%s had no answers while its part was cut off", n.name)
		}
		served += mine
		failed += sum(after[i].Failed) - sum(before[i].Failed)
	}
	cut := time.Since(from)
	s.cut("up", which...)
	healed := s.converge(convergeTime, everybody)
	s.Logf("%s for %v: the parts' views were right after %v, %d calls served and %d failed from then on; all see all %v after the cure",
		name, cut.Round(100*time.Millisecond), converged.Round(10*time.Millisecond), served, failed, healed.Round(10*time.Millisecond))
}

// reaches reports whether a node and a server are in the same part.
func (s *islands) reaches(n *islandNode, server string, which []int) bool {
	i := slices.IndexFunc(s.nodes, func(n *islandNode) bool { return n.name == server })
	other := s.nodes[i].island
	return other == n.island || !slices.Contains(which, other) && !slices.Contains(which, n.island)
}

func sum(counts map[string]int) int {
	total := 0
	for _, n := range counts {
		total += n
	}
	return total
}

// TestSeedsPartition: a network of nodes that know each other by seeds alone falls apart and heals.
// Each part goes on, no call is run twice, and in the end everybody sees everybody.
func TestSeedsPartition(t *testing.T) {
	s := newIslands(t)
	if s == nil {
		return
	}
	s.start()
	t.Logf("6 nodes see each other after %v", s.converge(20*time.Second, func(*islandNode) int { return 5 }).Round(10*time.Millisecond))
	if !testing.Short() && !testbed.RaceEnabled() {
		s.partition("4 and 2", 0)
	}
	s.partition("2, 2 and 2", 0, 1, 2)
	s.audit()
}

// audit ends all nodes, and compares what they ran.
func (s *islands) audit() {
	s.Helper()
	for _, n := range s.nodes {
		s.tell(n, "quiet")
	}
	ran := make(map[string]string)
	served, failed := 0, make(map[string]int)
	for _, n := range s.nodes {
		_ = n.in.Close()
	}
	for _, n := range s.nodes {
		r := s.hear(n)
		if err := n.cmd.Wait(); err != nil {
			s.Errorf("%s: %v: %s", n.name, err, n.stderr)
		}
		for _, id := range r.Ran {
			if other := ran[id]; other != "" {
				s.Errorf("call %s was run by %s and by %s", id, other, n.name)
			}
			ran[id] = n.name
		}
		served += sum(r.Served)
		for why, count := range r.Failed {
			failed[why] += count
		}
		if r.Late > 0 {
			s.Errorf("%d calls of %s ended late", r.Late, n.name)
		}
	}
	s.Logf("%d calls were run, %d had their reply, failed: %v", len(ran), served, failed)
}
